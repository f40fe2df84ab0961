/** The file store between processes: real ones, some of them killed. */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it, type TestContext } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { FileObjectStore } from '../../../../src/object/file/file-object-store.ts';

describe('FileObjectStore between processes', () => {
  let parent: string;
  let directory: string;
  before(async () => {
    parent = await mkdtemp(join(tmpdir(), 'bucketdisk-processes-'));
    directory = join(parent, 'bucket');
  });
  after(() => rm(parent, { recursive: true, force: true }));

  async function startChild(t: TestContext, key: string, count: number): Promise<ChildProcess> {
    const child = spawn(process.execPath, [join(import.meta.dirname, 'cas-child.ts'), directory, key, String(count)], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    t.after(() => child.kill('SIGKILL'));
    await once(child.stdout ?? assert.fail(), 'data');
    return child;
  }

  async function exitOf(child: ChildProcess): Promise<number | null> {
    if (child.exitCode === null && child.signalCode === null) await once(child, 'exit');
    return child.exitCode;
  }

  it('loses no increment of several processes that compare and swap', async (t) => {
    const store = await FileObjectStore.open(directory);
    t.after(() => store.close());
    await store.put('counter', Buffer.from('0'));
    const children = await Promise.all([1, 2, 3, 4].map(() => startChild(t, 'counter', 25)));
    for (const child of children) assert.equal(await exitOf(child), 0);
    assert.equal((await store.get('counter'))?.body.toString(), '100');
  });

  it('goes on with its other work while another process keeps the lock', async (t) => {
    const store = await FileObjectStore.open(directory);
    t.after(() => store.close());
    await store.put('stuck', Buffer.from('0'));
    const holder = spawn(
      process.execPath,
      [join(import.meta.dirname, '..', 'lock', 'hold-child.ts'), join(directory, '.bucketdisk', 'lock')],
      { stdio: ['ignore', 'pipe', 'inherit'] },
    );
    t.after(() => holder.kill('SIGKILL'));
    await once(holder.stdout, 'data');
    let settled = false;
    const put = store.put('stuck', Buffer.from('1')).finally(() => {
      settled = true;
    });
    for (let turns = 0; turns < 1000; turns++) await delay(1);
    assert.equal(settled, false, 'it had its turns while the put waited');
    holder.kill('SIGKILL');
    await put;
    assert.equal((await store.get('stuck'))?.body.toString(), '1');
  });

  it('is not held up by a process killed in the middle, whose files are cleared', async (t) => {
    const store = await FileObjectStore.open(directory);
    t.after(() => store.close());
    await store.put('killed', Buffer.from('0'));
    for (let round = 0; round < 3; round++) {
      const endless = await startChild(t, 'killed', Number.MAX_SAFE_INTEGER);
      const finite = await startChild(t, 'killed', 10);
      endless.kill('SIGKILL');
      await exitOf(endless);
      assert.equal(await exitOf(finite), 0);
    }
    const object = await store.get('killed');
    await store.put('killed', Buffer.from('done'), { ifMatch: object?.etag ?? '' });
    const temp = join(directory, '.bucketdisk', 'tmp');
    assert.ok((await readdir(temp)).length > 2, 'the killed processes left something');
    const next = await FileObjectStore.open(directory);
    await next.put('other', Buffer.from('x'));
    assert.equal((await readdir(temp)).length, 4, 'two living stores, each a directory and a lock');
    await next.close();
    assert.equal((await readdir(temp)).length, 2);
  });
});
