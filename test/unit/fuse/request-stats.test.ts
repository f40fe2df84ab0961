/** What is counted of FUSE requests, as a kernel makes them. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { StorageError } from '../../../src/lib/errors.ts';
import { TIMED_INTERVAL } from '../../../src/lib/request-tally.ts';
import { HeldMemoryDevice, MemoryDevice } from '../../conformance/nbd/memory-device.ts';
import { settle } from '../../support/virtual-clock.ts';
import { FakeKernel, pack, transfer, u32, u64 } from './fake-kernel.ts';

const SIZE = 1024 * 1024;
const READ = 15;
const WRITE = 16;
const FSYNC = 20;
const FALLOCATE = 43;
const LSEEK = 46;

const write = (offset: number, data: Buffer): Buffer => Buffer.concat([transfer(offset, data.length, 1), data]);

function counted(kernel: FakeKernel): Record<string, unknown> {
  const [media] = kernel.session.counters();
  return Object.fromEntries(
    (media?.commands ?? []).map(({ command, results, bytes }) => [
      command,
      { bytes, ...Object.fromEntries(results.map(({ result, count }) => [result, count])) },
    ]),
  );
}

test('requests are counted by what they are, how they ended and how much they were about', () => {
  const kernel = new FakeKernel({ media: new MemoryDevice(SIZE) });
  const node = kernel.lookup('media');
  assert.deepEqual(counted(kernel), {});
  for (let at = 0; at < 3; at++) kernel.call(READ, node, transfer(at * 4096, 4096));
  // Over the end there is nothing to read, and no room to write.
  kernel.call(READ, node, transfer(SIZE, 4096));
  kernel.call(WRITE, node, write(0, Buffer.alloc(8192)));
  kernel.call(WRITE, node, write(SIZE, Buffer.alloc(4096)));
  kernel.call(FSYNC, node, pack(u64(0), u32(0), u32(0)));
  kernel.call(FALLOCATE, node, pack(u64(0), u64(0), u64(4096), u32(3), u32(0)));
  kernel.call(FALLOCATE, node, pack(u64(0), u64(0), u64(4096), u32(0), u32(0)));
  kernel.call(LSEEK, node, pack(u64(0), u64(SIZE), u32(3), u32(0)));
  assert.deepEqual(counted(kernel), {
    read: { bytes: 3 * 4096, ok: 4 },
    write: { bytes: 8192, ok: 1, ENOSPC: 1 },
    flush: { bytes: 0, ok: 1 },
    zero: { bytes: 4096, ok: 1, EOPNOTSUPP: 1 },
    seek: { bytes: 0, ENXIO: 1 },
  });
});

test('requests that are answered later are counted then, and once', async () => {
  const device = new HeldMemoryDevice(SIZE);
  const kernel = new FakeKernel({ media: device });
  const node = kernel.lookup('media');
  kernel.request(READ, node, transfer(0, 4096));
  kernel.request(READ, node, transfer(4096, 4096));
  await settle();
  assert.deepEqual(counted(kernel), {});
  await device.whenHeld(2);
  for (const offset of [4096, 0]) device.release(offset);
  await settle();
  assert.deepEqual(counted(kernel), { read: { bytes: 8192, ok: 2 } });
});

test('what a device fails is counted by its error', () => {
  const device = new MemoryDevice(SIZE);
  device.read = () => {
    throw new StorageError('UNAVAILABLE', 'gone');
  };
  const kernel = new FakeKernel({ media: device });
  kernel.call(READ, kernel.lookup('media'), transfer(0, 4096));
  assert.deepEqual(counted(kernel), { read: { bytes: 0, EIO: 1 } });
});

test('of reads one in so many is timed, of flushes each', () => {
  const kernel = new FakeKernel({ media: new MemoryDevice(SIZE) });
  const node = kernel.lookup('media');
  for (let at = 0; at < 2 * TIMED_INTERVAL; at++) kernel.call(READ, node, transfer(0, 4096));
  for (let at = 0; at < 3; at++) kernel.call(FSYNC, node, pack(u64(0), u32(0), u32(0)));
  const [media] = kernel.session.counters();
  const timed = media?.commands.map(({ latencyCounts }) => latencyCounts.reduce((sum, count) => sum + count, 0));
  assert.deepEqual(timed, [2, 3]);
});
