/** The head of the log: the newest that was written whole, whatever is torn. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type LogHead, LogHeadFile } from '../../../../src/cache/log/log-head.ts';
import type { SimDisk } from '../../../support/sim-disk.ts';
import { newDisk, SALT } from './fixtures.ts';

const PATH = '/cache/head';
const SLOT_BYTES = 4096;
const COPY_BYTES = 2 * SLOT_BYTES;

function head(sequence: number): LogHead {
  return {
    sequence,
    fileBytes: 65536,
    fileCount: 4,
    life: 3,
    number: sequence * 10,
    position: 2 ** 45 + sequence * 4096,
    previousChecksum: 0xffff_fffe,
    durablePosition: 2 ** 45 + sequence * 8192,
  };
}

async function written(disk: SimDisk, last: number): Promise<void> {
  const file = new LogHeadFile(disk.open(PATH), SALT);
  for (let sequence = 1; sequence <= last; sequence++) await file.write(head(sequence));
  file.close();
}

function readHead(disk: SimDisk, salt = SALT): LogHead | null {
  const file = new LogHeadFile(disk.open(PATH), salt);
  try {
    return file.read();
  } finally {
    file.close();
  }
}

test('none where it was never written; the newest of those that were', async () => {
  const disk = newDisk();
  assert.equal(readHead(disk), null);
  for (let last = 1; last < 5; last++) {
    await written(disk, last);
    assert.deepEqual(readHead(disk), head(last));
  }
});

test('a slot that is spoiled: its copy counts; both: the one before; all of them: CORRUPT', async () => {
  for (const last of [4, 5]) {
    for (let bit = 0; bit < 72 * 8; bit += 5) {
      const disk = newDisk();
      await written(disk, last);
      const newest = (last % 2) * SLOT_BYTES;
      const older = ((last + 1) % 2) * SLOT_BYTES;
      disk.flipBit(PATH, (bit % 2) * COPY_BYTES + newest + (bit >> 3));
      assert.deepEqual(readHead(disk), head(last), `bit ${bit}`);
      disk.flipBit(PATH, ((bit + 1) % 2) * COPY_BYTES + newest + 70);
      assert.deepEqual(readHead(disk), head(last - 1), `bit ${bit}`);
      for (const at of [older, older + COPY_BYTES]) disk.flipBit(PATH, at + 20);
      assert.throws(() => readHead(disk), { code: 'CORRUPT' });
    }
  }
});

test('a slot that the disk cannot read: its copy counts; both: the error, and not the one before', async () => {
  for (const last of [4, 5]) {
    for (const first of [0, COPY_BYTES]) {
      const disk = newDisk();
      await written(disk, last);
      const newest = (last % 2) * SLOT_BYTES;
      disk.breakSector(PATH, first + newest);
      assert.deepEqual(readHead(disk), head(last));
      disk.breakSector(PATH, COPY_BYTES - first + newest);
      assert.throws(() => readHead(disk), { code: 'UNAVAILABLE' });
    }
  }
});

test('one of an earlier version, without copies, is read and gets them', async () => {
  const disk = newDisk();
  await written(disk, 4);
  const file = disk.open(PATH);
  file.truncate(COPY_BYTES);
  file.close();
  assert.deepEqual(readHead(disk), head(4));
  const again = new LogHeadFile(disk.open(PATH), SALT);
  await again.reserve();
  await again.write(head(5));
  again.close();
  disk.flipBit(PATH, SLOT_BYTES + 9);
  assert.deepEqual(readHead(disk), head(5));
});

test('another log is not taken for this one', async () => {
  const disk = newDisk();
  await written(disk, 2);
  assert.throws(() => readHead(disk, SALT + 1), { code: 'CORRUPT' });
});

test('a crash while it is written leaves the old one or the new one', async () => {
  const seen = new Set<number | undefined>();
  for (let seed = 0; seed < 60; seed++) {
    const disk = newDisk(seed);
    await written(disk, 4);
    await disk.syncDirectory('/cache');
    const file = new LogHeadFile(disk.open(PATH), SALT);
    let done = false;
    void file.write(head(5)).then(() => {
      done = true;
    });
    for (let turn = 0; turn < seed % 3; turn++) await new Promise((resolve) => setImmediate(resolve));
    const found = readHead(disk.crash())?.sequence;
    assert.ok(found === 5 || (found === 4 && !done), `${found}`);
    seen.add(found);
  }
  assert.deepEqual([...seen].sort(), [4, 5]);
});
