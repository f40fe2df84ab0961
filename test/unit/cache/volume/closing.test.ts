/** Stopping a volume with a cache, whatever is under way. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { EXIT_DIRTY, exitCodeOf } from '../../../../src/cli/exit-code.ts';
import { isStorageError, StorageError } from '../../../../src/lib/errors.ts';
import { BLOCK, blockOf, never, TOKEN } from '../../volume/fixtures.ts';
import { unreachable } from '../../volume/hooked-store.ts';
import { finish, leave, type Machine, machine, read, stored, write } from './fixtures.ts';

/** PUTs of blocks never answer. */
function hangUploads({ bench: { store } }: Machine): void {
  store.before = ({ kind, keys }) =>
    kind === 'put' && /^vol\/[0-9a-f]{8}$/.test(keys[0] ?? '') ? new Promise<void>(() => {}) : undefined;
}

const later = (clock: Machine['bench']['clock'], ms: number): AbortSignal => {
  const giveUp = new AbortController();
  void clock.sleep(ms).then(() => giveUp.abort());
  return giveUp.signal;
};

test('given up while uploads hang: what is left is durable, the volume stays claimed, and the next start goes on', async () => {
  for (let ms = 0; ms < 12; ms += 2) {
    const one = machine({ seed: ms, latencyMs: (operation) => (operation === 'read' ? 8 : 3) });
    const { clock, store } = one.bench;
    const first = await one.open({}, { cache: { triggers: { ageMs: 1e9, dirtyBytesMax: 2 * BLOCK } } });
    hangUploads(one);
    for (let block = 0; block < 8; block++) await first.device.write(block * BLOCK, blockOf(block), { fua: false });
    // Wherever it is: reading a batch, sending one, reading the next, writing down where the log begins.
    await clock.advance(ms);
    assert.equal(await clock.run(first.close(ms % 4 === 0 ? AbortSignal.abort() : later(clock, 5))), 'dirty');
    assert.deepEqual([...one.bench.log.messages('error'), ...one.bench.log.messages('warn')], []);
    assert.equal(first.lost, null);
    assert.notEqual(await store.inner.get(TOKEN), null, 's3backer is kept away');
    store.before = () => {};
    const second = await one.open();
    for (let block = 0; block < 8; block++) assert.deepEqual(await read(one, second, block), blockOf(block));
    await finish(one, second);
    for (let block = 0; block < 8; block++) assert.deepEqual(await stored(one, block), blockOf(block));
  }
});

test('with writes that wait for room, flushes and reads behind them: all are answered with an error, none is lost silently', async () => {
  const one = machine();
  const { clock } = one.bench;
  const first = await one.open({}, { cache: { logSizeBytes: 256 * 1024 } });
  hangUploads(one);
  const answers: Promise<string>[] = [];
  const answered = (request: unknown): Promise<string> =>
    Promise.resolve(request).then(
      () => 'ok',
      (error: unknown) => (isStorageError(error) ? error.code : String(error)),
    );
  for (let block = 0; block < 80; block++) {
    answers.push(answered(first.device.write((block % 64) * BLOCK, blockOf(block), { fua: block % 3 === 0 })));
  }
  answers.push(answered(first.device.flush()));
  answers.push(answered(first.device.read(6 * BLOCK, BLOCK)));
  answers.push(answered(first.device.trim(0, BLOCK, { fua: false })));
  assert.ok((first.cached?.status().waitingWrites ?? 0) > 0);
  assert.equal(await clock.run(first.close(later(clock, 5000))), 'dirty');
  const codes = await clock.run(Promise.all(answers));
  assert.equal(codes.at(-1), 'CANCELLED', codes.join(' '));
  assert.equal(codes.at(-2), 'CANCELLED', codes.join(' '));
  assert.equal(codes.at(-3), 'CANCELLED', codes.join(' '));
  one.bench.store.before = () => {};
  const second = await one.open();
  const expected = new Map<number, number>();
  codes.slice(0, 80).forEach((code, block) => {
    if (code === 'ok') expected.set(block % 64, block);
  });
  for (const [block, version] of expected) assert.deepEqual(await read(one, second, block), blockOf(version));
});

test('a flush that waits for the bucket when the volume is closed is answered with an error', async () => {
  const one = machine();
  const { clock } = one.bench;
  const first = await one.open({ durability: 's3' });
  hangUploads(one);
  await first.device.write(0, blockOf(0), { fua: false });
  const flush = Promise.resolve(first.device.flush()).then(
    () => 'ok',
    (error: unknown) => (isStorageError(error) ? error.code : String(error)),
  );
  assert.equal(await clock.run(first.close(later(clock, 1000))), 'dirty');
  assert.equal(await clock.run(flush), 'CANCELLED');
  assert.throws(() => first.device.flush(), { code: 'CANCELLED' });
});

test('everything is uploaded, but the log cannot forget it: counts as dirty, so that nobody comes between', async () => {
  const one = machine();
  const { clock } = one.bench;
  const first = await one.open();
  await write(one, first, 1, blockOf(1));
  one.disk.faults = { ...one.disk.faults, sync: 1 };
  assert.equal(await clock.run(first.close(never)), 'dirty');
  assert.deepEqual(await stored(one, 1), blockOf(1));
  assert.notEqual(await one.bench.store.inner.get(TOKEN), null);
  one.disk.faults = { ...one.disk.faults, sync: 0 };
  await finish(one, await one.open());
});

test('a bucket that is away: closing waits until the deadline, retrying, and exit code 13 is what that is called', async () => {
  const one = machine();
  const { clock, store } = one.bench;
  const first = await one.open();
  await write(one, first, 1, blockOf(1));
  let attempts = 0;
  store.before = ({ kind, keys }) => {
    if (kind !== 'put' || !/^vol\/[0-9a-f]{8}$/.test(keys[0] ?? '')) return;
    attempts++;
    throw unreachable();
  };
  const startedAt = clock.now();
  assert.equal(await clock.run(first.close(later(clock, 60_000))), 'dirty');
  assert.equal(clock.now() - startedAt, 60_000);
  assert.ok(attempts > 3 && attempts < 30, `${attempts} attempts`);
  assert.equal(EXIT_DIRTY, 13);
  assert.equal(exitCodeOf(new StorageError('CONFLICT', 'stranded')), 1);
});

test('closed twice in a row while it opens and closes: no rejection is left unhandled', async () => {
  const one = machine();
  const first = await one.open();
  await write(one, first, 1, blockOf(1));
  const both = Promise.all([first.close(never), first.close(never)]);
  assert.deepEqual(await one.bench.clock.run(both), ['clean', 'clean']);
});

test('an opening that fails when everything is open already closes all of it', async () => {
  const one = machine();
  const { log, clock } = one.bench;
  const first = await one.open();
  await write(one, first, 1, blockOf(1));
  await leave(one, first);
  assert.equal(one.disk.openFiles, 0);
  const { child } = log;
  log.child = (fields) => {
    const book = child.call(log, fields);
    book.info = (message) => {
      if (message.startsWith('taking up writes')) throw new Error('the log cannot be written');
    };
    return book;
  };
  await assert.rejects(one.open(), { message: 'the log cannot be written' });
  await clock.advance(0);
  assert.deepEqual([one.disk.openFiles, clock.sleeping], [0, 0]);
  log.child = child;
  await finish(one, await one.open());
});
