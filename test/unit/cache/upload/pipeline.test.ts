/** Batches one after another: what is done while the one before is still on its way to the clean pages. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { CachedVolume } from '../../../../src/cache/cached-volume.ts';
import type { Disk, DiskFile } from '../../../../src/lib/disk.ts';
import { StorageError } from '../../../../src/lib/errors.ts';
import { rejectsWith } from '../../../conformance/object-store/suite.ts';
import type { VirtualClock } from '../../../support/virtual-clock.ts';
import { filled, gate, MemoryLayout, MIB, never, type Rig, rig } from '../fixtures.ts';

/** More than a batch takes, and less than two. */
const BLOCKS = 40;
const FENCED = new StorageError('FENCED', 'another writer has it');

function blockOf(tag: number): Buffer {
  return filled(tag, MIB);
}

/** A disk whose writes of clean pages stand at a gate. */
function holdingLines(disk: Disk, closed: () => Promise<void>): Disk {
  const open = (path: string): DiskFile => {
    const file = disk.open(path);
    if (!path.endsWith('/lines')) return file;
    const write = async (source: Buffer, position: number): Promise<void> => {
      await closed();
      await file.write(source, position);
    };
    return new Proxy(file, {
      get: (target, name) => {
        if (name === 'write') return write;
        const member: unknown = Reflect.get(target, name);
        return typeof member === 'function' ? member.bind(target) : member;
      },
    });
  };
  return new Proxy(disk, {
    get: (target, name) => {
      if (name === 'open') return open;
      const member: unknown = Reflect.get(target, name);
      return typeof member === 'function' ? member.bind(target) : member;
    },
  });
}

/** Writes all blocks, one after another: where the log has no room a write waits. */
async function fill(clock: VirtualClock, volume: CachedVolume, tag: number, blocks = BLOCKS): Promise<void> {
  for (let block = 0; block < blocks; block++) {
    await clock.run(Promise.resolve(volume.write(block * MIB, blockOf(tag + block), { fua: false })));
  }
}

function bench(): Rig {
  return rig({ layout: new MemoryLayout(BLOCKS * MIB, MIB) });
}

const SPACE = { durability: 's3', logSizeBytes: 128 * MIB, cacheSizeBytes: 64 * MIB } as const;

test('a batch is sent while the pages of the one before are on their way to the disk, and none of it is lost', async () => {
  const { clock, layout, disk, open } = bench();
  const lines = gate();
  const volume = await open({ ...SPACE, disk: holdingLines(disk, () => lines.closed) });
  await fill(clock, volume, 1);
  let flushed = false;
  const flush = Promise.resolve(volume.flush()).then(() => {
    flushed = true;
  });
  for (let turns = 0; layout.batches.length < 2 && turns < 1000; turns++) await clock.advance(10);
  assert.equal(layout.batches.length, 2);
  assert.equal(flushed, false, 'not before its pages can be read from the cache');
  lines.open();
  await clock.run(flush);
  assert.equal(volume.status().dirtyBytes, 0);
  for (let block = 0; block < BLOCKS; block++) {
    assert.ok((await volume.read(block * MIB, MIB)).equals(blockOf(block + 1)), `block ${block}`);
  }
  assert.deepEqual(layout.reads, []);
  await clock.run(volume.close(AbortSignal.abort()));
});

test('what is sent keeps its bytes, though the memory of the batch before is used again', async () => {
  const { clock, layout, open } = bench();
  const volume = await open(SPACE);
  for (let round = 1; round <= 3; round++) {
    await fill(clock, volume, 100 * round);
    await clock.run(Promise.resolve(volume.flush()));
    for (let block = 0; block < BLOCKS; block++) {
      assert.ok((await layout.read(block * MIB, MIB)).equals(blockOf(100 * round + block)), `${round}: block ${block}`);
    }
  }
  await clock.run(volume.close(AbortSignal.abort()));
});

test('that the volume is lost is told at once, also where the disk does not answer', async () => {
  const { clock, layout, disk, open } = bench();
  const lines = gate();
  let commits = 0;
  layout.beforeCommit = () => {
    if (++commits === 2) throw FENCED;
  };
  const volume = await open({ ...SPACE, disk: holdingLines(disk, () => lines.closed) });
  await fill(clock, volume, 1);
  await clock.run(assert.rejects(Promise.resolve(volume.flush()), rejectsWith('FENCED')));
  lines.open();
  await clock.run(volume.close(AbortSignal.abort()));
});

test('that a block is gone is told once it is known that no other writer has deleted it', async () => {
  for (const isLost of [true, false]) {
    const { clock, layout, log, open } = bench();
    const known = gate();
    let commits = 0;
    layout.beforeCommit = () => {
      if (++commits === 1) throw new StorageError('CORRUPT', 'its object is gone');
    };
    const whenOurs = async <T>(work: Promise<T>): Promise<T> => {
      await Promise.allSettled([work, known.closed]);
      if (isLost) throw FENCED;
      return work;
    };
    const volume = await open({ ...SPACE, whenOurs });
    const failing = (): boolean => log.lines.some(({ fields: { event } }) => event === 'upload-failing');
    await fill(clock, volume, 1, 1);
    const flushed = Promise.resolve(volume.flush()).then(
      () => 'flushed',
      (error: StorageError) => error.code,
    );
    await clock.advance(10_000);
    assert.equal(commits, 1);
    assert.equal(failing(), false);
    known.open();
    assert.equal(await clock.run(flushed), isLost ? 'FENCED' : 'flushed');
    assert.equal(failing(), !isLost);
    await clock.run(volume.close(AbortSignal.abort()));
  }
});

/** The shared memory that is sent from. */
function sharedMemory(layout: MemoryLayout): Set<ArrayBufferLike> {
  const seen = new Set<ArrayBufferLike>();
  layout.beforeCommit = ({ extents }) => {
    for (const { data } of extents) if (data?.buffer instanceof SharedArrayBuffer) seen.add(data.buffer);
  };
  return seen;
}

test('batches that fail take no new shared memory each time: nothing has the collector run for that', async () => {
  const { clock, layout, open } = bench();
  const shared = sharedMemory(layout);
  const { beforeCommit } = layout;
  let commits = 0;
  layout.beforeCommit = async (batch) => {
    await beforeCommit(batch);
    if (++commits < 10) throw new StorageError('UNAVAILABLE', 'the bucket is away');
  };
  const volume = await open(SPACE);
  await fill(clock, volume, 1);
  await clock.run(Promise.resolve(volume.flush()));
  assert.ok(commits >= 10);
  assert.ok(shared.size > 0 && shared.size <= 64, `${shared.size} MiB`);
  for (let block = 0; block < BLOCKS; block++) {
    assert.ok((await layout.read(block * MIB, MIB)).equals(blockOf(block + 1)), `block ${block}`);
  }
  await clock.run(volume.close(AbortSignal.abort()));
});

test('nor do small batches with nothing to do in between', async () => {
  const { clock, layout, open } = bench();
  const shared = sharedMemory(layout);
  const volume = await open(SPACE);
  for (let round = 1; round <= 100; round++) {
    await clock.run(Promise.resolve(volume.write(0, blockOf(round), { fua: false })));
    await clock.run(Promise.resolve(volume.flush()));
  }
  assert.equal(shared.size, 1);
  assert.ok((await layout.read(0, MIB)).equals(blockOf(100)));
  await clock.run(volume.close(AbortSignal.abort()));
});

test('what a volume was sending when it was closed leaves its shared memory to others', async () => {
  const { clock, layout, open } = bench();
  for (let round = 1; round <= 4; round++) {
    const sent = gate();
    layout.beforeCommit = async () => {
      await sent.closed;
      throw new StorageError('UNAVAILABLE', 'the bucket is away');
    };
    const volume = await open(SPACE);
    await fill(clock, volume, 10 * round, 20);
    Promise.resolve(volume.flush()).catch(() => {});
    await clock.advance(100);
    await clock.run(volume.close(AbortSignal.abort()));
    sent.open();
    await clock.advance(100);
  }
  let others = 0;
  layout.beforeCommit = ({ extents }) => {
    for (const { data } of extents) if (!(data?.buffer instanceof SharedArrayBuffer)) others++;
  };
  const volume = await open(SPACE);
  await clock.run(volume.uploadAll(never));
  assert.equal(others, 0);
  await clock.run(volume.close(AbortSignal.abort()));
});
