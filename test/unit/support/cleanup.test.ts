/** What a test puts in place is undone: in reverse order, all of it, and also when the process is told to stop. */
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { onEnd } from '../../support/cleanup.ts';
import { startProcess } from '../../support/run-command.ts';
import { tempDir } from '../../support/temp.ts';

/** A lifetime that ends when it is told to. */
function lifetime(): { after(end: () => void | Promise<void>): void; end(): Promise<void> } {
  const ends: (() => void | Promise<void>)[] = [];
  return {
    after: (end) => void ends.push(end),
    end: async () => {
      for (const end of ends) await end();
    },
  };
}

test('the last one first', async () => {
  const order: number[] = [];
  const one = lifetime();
  for (const n of [1, 2, 3]) onEnd(one, () => void order.push(n));
  await one.end();
  assert.deepEqual(order, [3, 2, 1]);
});

test('all of them, whatever becomes of the others, and the failures are told', async () => {
  const order: number[] = [];
  const one = lifetime();
  onEnd(one, () => void order.push(1));
  onEnd(one, () => Promise.reject(new Error('busy')));
  onEnd(one, () => void order.push(3));
  await assert.rejects(one.end(), /busy/);
  assert.deepEqual(order, [3, 1]);
});

test('what is undone before the end is not undone again', async () => {
  let count = 0;
  const one = lifetime();
  const undo = onEnd(one, () => void count++);
  await undo();
  await undo();
  await one.end();
  assert.equal(count, 1);
});

test('a process that is told to stop cleans up first, also when it is told twice', async (t) => {
  const dir = await tempDir(t);
  const written = join(dir, 'written');
  const module = new URL('../../support/cleanup.ts', import.meta.url).href;
  const program = `
    import { writeFileSync } from 'node:fs';
    import { onEnd } from ${JSON.stringify(module)};
    import { setTimeout as delay } from 'node:timers/promises';
    const lifetime = { after() {} };
    onEnd(lifetime, () => writeFileSync(${JSON.stringify(written)}, 'cleaned'));
    onEnd(lifetime, async () => {
      console.log('cleaning');
      await delay(50);
    });
    setInterval(() => {}, 1000);
    console.log('ready');`;
  const child = startProcess(t, process.execPath, ['--input-type=module', '-e', program]);
  await child.until('ready', () => child.stdout.includes('ready') || undefined);
  child.signal('SIGTERM');
  await child.until('cleaning', () => child.stdout.includes('cleaning') || undefined);
  const { code } = await child.stop('SIGTERM');
  assert.equal(code, 143);
  assert.equal(await readFile(written, 'utf8'), 'cleaned');
});
