/** Who is right where block 0 and the volume's record say different sizes: which was written later, and by whom. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { settleIdentity } from '../../../src/volume/identity.ts';
import type { Inspection } from '../../../src/volume/inspect.ts';
import type { Volume } from '../../../src/volume/volume.ts';
import { formatRecord, parseRecord, type VolumeRecord } from '../../../src/volume/volume-record.ts';
import {
  type Bench,
  BLOCK,
  bench,
  blockOf,
  never,
  putS3backerBlock,
  RECORD,
  readBlock,
  recordIn,
  volumeOptions,
  writeBlock,
} from './fixtures.ts';
import { failPut, type Operation, unreachable } from './hooked-store.ts';

const BLOCK_0 = 'vol/00000000';
const NO_SIZES = { sizeBytes: null, blockSizeBytes: null };
const OURS = 'c0ffee';

const RECORD_OF_16: VolumeRecord = {
  volumeId: OURS,
  createdAt: '2026-01-01T00:00:00.000Z',
  layout: 'blocks',
  sizeBytes: 16 * BLOCK,
  blockSizeBytes: BLOCK,
  blockHashPrefix: false,
  encryption: null,
  resizeToBytes: null,
  resizes: 3,
  erasing: false,
};

interface Block0 {
  readonly blocks: number;
  /** By a volume of ours, after so many resizes; null: s3backer wrote it. */
  readonly mark: { readonly volumeId?: string; readonly resizes: number } | null;
}

function settled(record: Partial<VolumeRecord>, block0: Block0 | null) {
  const found: Inspection = {
    record: { ...RECORD_OF_16, ...record },
    metadata:
      block0 === null
        ? null
        : {
            sizeBytes: block0.blocks * BLOCK,
            blockSizeBytes: BLOCK,
            mark: block0.mark === null ? null : { volumeId: OURS, ...block0.mark },
          },
    blockHashPrefix: false,
    sampleBlock: block0 === null ? null : 0,
    foreignKey: null,
  };
  const {
    record: settledRecord,
    block0Differs,
    stale,
  } = settleIdentity(volumeOptions(NO_SIZES), found, new Date(0), null);
  const { sizeBytes, resizes, resizeToBytes } = settledRecord;
  const resizingTo = resizeToBytes === null ? null : resizeToBytes / BLOCK;
  return { blocks: sizeBytes / BLOCK, resizes, resizingTo, block0Differs, stale };
}

describe('with no resize under way', () => {
  const rows: [string, Block0 | null, Partial<ReturnType<typeof settled>>][] = [
    ['no block 0', null, {}],
    ['ours, of the same resize and size', { blocks: 16, mark: { resizes: 3 } }, {}],
    ['ours, of the same resize and another size', { blocks: 8, mark: { resizes: 3 } }, { block0Differs: true }],
    ['ours, of an earlier one, and larger', { blocks: 32, mark: { resizes: 2 } }, { block0Differs: true }],
    ['ours, of an earlier one, and smaller', { blocks: 8, mark: { resizes: 0 } }, { block0Differs: true }],
    ['ours, of an earlier one and the same size', { blocks: 16, mark: { resizes: 1 } }, {}],
    // The record is an older one, restored or itself a put that has come late.
    ['ours, of a later one', { blocks: 32, mark: { resizes: 5 } }, { blocks: 32, resizes: 5, stale: true }],
    ['ours, of a later one, and smaller', { blocks: 8, mark: { resizes: 4 } }, { blocks: 8, resizes: 4, stale: true }],
    ['ours, of a later one and the same size', { blocks: 16, mark: { resizes: 7 } }, { resizes: 7 }],
    ["s3backer's, larger", { blocks: 32, mark: null }, { blocks: 32, resizes: 4, stale: true }],
    ["s3backer's, smaller", { blocks: 8, mark: null }, { blocks: 8, resizes: 4, stale: true }],
    ["s3backer's, of the same size", { blocks: 16, mark: null }, {}],
    [
      "another volume's",
      { blocks: 32, mark: { volumeId: 'decaf', resizes: 1 } },
      { blocks: 32, resizes: 4, stale: true },
    ],
  ];
  for (const [name, block0, expected] of rows) {
    test(name, () => {
      assert.deepEqual(settled({}, block0), {
        ...{ blocks: 16, resizes: 3, resizingTo: null, block0Differs: false, stale: false },
        ...expected,
      });
    });
  }

  test('and a record of the first versions, which did not count', () => {
    const { resizes: _, ...first } = RECORD_OF_16;
    const object = { key: RECORD, body: formatRecord(first as VolumeRecord) } as Parameters<typeof parseRecord>[0];
    const record = parseRecord(object);
    assert.equal(record.resizes, 0);
    assert.equal(settled(record, { blocks: 32, mark: null }).blocks, 32);
    assert.equal(settled(record, { blocks: 32, mark: { resizes: 0 } }).blocks, 16);
    assert.equal(settled(record, { blocks: 32, mark: { resizes: 1 } }).blocks, 32);
  });
});

describe('with a resize under way block 0 tells what it came to, whoever wrote it', () => {
  for (const mark of [null, { resizes: 3 }, { resizes: 4 }, { volumeId: 'decaf', resizes: 1 }]) {
    test(mark === null ? 'by s3backer' : JSON.stringify(mark), () => {
      const growing = { resizeToBytes: 32 * BLOCK };
      assert.equal(settled(growing, { blocks: 16, mark }).blocks, 16);
      assert.equal(settled(growing, { blocks: 32, mark }).blocks, 32);
      assert.equal(settled(growing, { blocks: 64, mark }).blocks, 64);
      const shrinking = { resizeToBytes: 8 * BLOCK };
      const takenBack = settled(shrinking, { blocks: 8, mark });
      assert.deepEqual([takenBack.blocks, takenBack.resizingTo, takenBack.block0Differs], [16, 8, true]);
      assert.equal(settled(shrinking, { blocks: 16, mark }).blocks, 16);
      assert.equal(settled(shrinking, { blocks: 4, mark }).blocks, 4);
    });
  }

  for (const resizes of [0, 2]) {
    test(`but for ours of resize ${resizes}, before it, and another size: it counts as not there`, () => {
      const mark = { resizes };
      const growing = { resizeToBytes: 32 * BLOCK };
      const notBegun = settled(growing, { blocks: 16, mark });
      assert.deepEqual([notBegun.blocks, notBegun.block0Differs], [16, false]);
      for (const blocks of [8, 64]) {
        const finished = settled(growing, { blocks, mark });
        assert.deepEqual(finished, { blocks: 32, resizes: 4, resizingTo: null, block0Differs: true, stale: true });
      }
      const shrinking = { resizeToBytes: 8 * BLOCK };
      for (const blocks of [4, 12, 64]) {
        const takenBack = settled(shrinking, { blocks, mark });
        assert.deepEqual(takenBack, { blocks: 16, resizes: 3, resizingTo: null, block0Differs: true, stale: true });
      }
      assert.deepEqual(settled(shrinking, { blocks: 8, mark }).resizingTo, 8);
    });
  }

  test('without block 0', () => {
    assert.equal(settled({ resizeToBytes: 32 * BLOCK }, null).blocks, 32);
    assert.equal(settled({ resizeToBytes: 8 * BLOCK }, null).blocks, 16);
  });
});

/** A put as it was made, to arrive once more. */
function putsOf({ store }: Bench, key: string): Operation[] {
  return store.operations.filter(({ kind, keys }) => kind === 'put' && keys[0] === key);
}

async function arrives({ store }: Bench, put: Operation | undefined): Promise<void> {
  assert.ok(put?.body);
  const { headers } = put.options;
  await store.inner.put(put.keys[0] ?? '', put.body, headers === undefined ? {} : { headers });
}

/** Puts of block 0 that say a volume of so many blocks do not reach the bucket. */
function failBlock0Of({ store }: Bench, blocks: number): void {
  store.before = ({ kind, keys, options }) => {
    const says = options.headers?.metadata?.['s3backer-filesize'];
    if (kind === 'put' && keys[0] === BLOCK_0 && says === String(blocks * BLOCK)) throw unreachable();
  };
}

async function sizeInBlock0({ store }: Bench): Promise<number> {
  return Number((await store.inner.head(BLOCK_0))?.metadata['s3backer-filesize']) / BLOCK;
}

/** A volume of 64 blocks that was resized, and of which a put of block 0 from before that arrives once it is closed. */
async function withLatePut(blocks: number): Promise<Bench> {
  const made = bench();
  const volume = await made.open();
  await writeBlock(volume, 0);
  const [late] = putsOf(made, BLOCK_0);
  await volume.resize(blocks * BLOCK, { force: true });
  await writeBlock(volume, blocks - 1);
  await volume.close(never);
  assert.equal(await sizeInBlock0(made), blocks);
  await arrives(made, late);
  assert.equal(await sizeInBlock0(made), 64);
  return made;
}

describe('a put of block 0 that arrives after the resize', () => {
  for (const blocks of [128, 32]) {
    test(`from 64 to ${blocks} blocks does not take it back, and block 0 is corrected`, async () => {
      const made = await withLatePut(blocks);
      const before = await recordIn(made.store);
      const volume = await made.open(NO_SIZES);
      assert.equal(volume.device.geometry.sizeBytes, blocks * BLOCK);
      assert.equal(await sizeInBlock0(made), blocks);
      assert.deepEqual(await recordIn(made.store), before);
      const [said] = made.log.messages('warn').filter((message) => /block 0/.test(message));
      assert.match(said ?? '', /before a resize/);
      assert.doesNotMatch(said ?? '', /smaller/);
      // What lay beyond the size of before is not cut off by a growing.
      await volume.resize(256 * BLOCK, { force: false });
      assert.deepEqual(await readBlock(volume, blocks - 1), blockOf(blocks - 1));
      assert.deepEqual(await readBlock(volume, 0), blockOf(0));
      await volume.close(never);
      const last = await made.open(NO_SIZES);
      assert.equal(last.device.geometry.sizeBytes, 256 * BLOCK);
      await last.close(never);
    });
  }

  test('and once more after it was corrected', async () => {
    const made = await withLatePut(128);
    const [late] = putsOf(made, BLOCK_0);
    for (let times = 0; times < 2; times++) {
      const volume = await made.open(NO_SIZES);
      assert.equal(volume.device.geometry.sizeBytes, 128 * BLOCK);
      await volume.close(never);
      await arrives(made, late);
    }
  });

  test('where it cannot be corrected, the start fails, and the next one corrects it', async () => {
    const made = await withLatePut(128);
    made.store.before = ({ kind, keys }) => {
      if (kind === 'put' && keys[0] === BLOCK_0) throw unreachable();
    };
    await assert.rejects(made.open(NO_SIZES), { code: 'UNAVAILABLE' });
    made.store.before = () => {};
    const volume = await made.open(NO_SIZES);
    assert.equal(volume.device.geometry.sizeBytes, 128 * BLOCK);
    assert.equal(await sizeInBlock0(made), 128);
    await volume.close(never);
  });

  test('who only reads, and who shares the disk, has the right size, and leaves block 0 as it is', async () => {
    for (const options of [{ readOnly: true }, { sharedDisk: true }]) {
      const made = await withLatePut(128);
      const volume = await made.open({ ...NO_SIZES, ...options });
      assert.equal(volume.device.geometry.sizeBytes, 128 * BLOCK);
      assert.deepEqual(await readBlock(volume, 127), blockOf(127));
      await volume.close(never);
      assert.equal(await sizeInBlock0(made), 64);
    }
  });

  test('of a growing that was taken back leaves it taken back', async () => {
    const made = bench();
    const volume = await made.open();
    await writeBlock(volume, 0);
    failBlock0Of(made, 128);
    await assert.rejects(volume.resize(128 * BLOCK, { force: false }), { code: 'UNAVAILABLE' });
    const [, late] = putsOf(made, BLOCK_0);
    made.store.before = () => {};
    await volume.resize(64 * BLOCK, { force: false });
    await volume.close(never);
    await arrives(made, late);
    assert.equal(await sizeInBlock0(made), 128);
    const next = await made.open(NO_SIZES);
    assert.equal(next.device.geometry.sizeBytes, 64 * BLOCK);
    await next.close(never);
  });
});

describe('a put of block 0 of an earlier resize that arrives while another is under way', () => {
  /** A volume of 64 blocks whose shrink to 32 has failed; and its put of block 0, which has not arrived. */
  async function afterFailedShrink(): Promise<{ made: Bench; volume: Volume; late: Operation | undefined }> {
    const made = bench();
    const volume = await made.open();
    for (const block of [0, 40]) await writeBlock(volume, block);
    failPut(made.store, BLOCK_0, 1);
    await assert.rejects(volume.resize(32 * BLOCK, { force: true }), { code: 'UNAVAILABLE' });
    assert.equal(await sizeInBlock0(made), 64);
    return { made, volume, late: putsOf(made, BLOCK_0).at(-2) };
  }

  /** What the next start finds. */
  async function reopened(made: Bench): Promise<Volume> {
    const next = bench({ bucket: made.store.inner });
    const volume = await next.open(NO_SIZES);
    const blocks = volume.device.geometry.sizeBytes / BLOCK;
    assert.equal(await sizeInBlock0(next), blocks);
    assert.deepEqual([(await recordIn(next.store))?.sizeBytes, volume.record.resizeToBytes], [blocks * BLOCK, null]);
    assert.deepEqual(
      next.log.messages('warn').filter((message) => /smaller/.test(message)),
      [],
    );
    assert.deepEqual(await readBlock(volume, 40), blockOf(40));
    return volume;
  }

  test('a growing that had not come to block 0 is finished', async () => {
    const { made, volume, late } = await afterFailedShrink();
    failBlock0Of(made, 128);
    await assert.rejects(volume.resize(128 * BLOCK, { force: false }), { code: 'UNAVAILABLE' });
    await arrives(made, late);
    assert.equal(await sizeInBlock0(made), 32);
    assert.equal((await reopened(made)).device.geometry.sizeBytes, 128 * BLOCK);
  });

  test('what was written beyond the old end of a growing is there', async () => {
    const { made, volume, late } = await afterFailedShrink();
    failPut(made.store, RECORD, 2);
    await assert.rejects(volume.resize(128 * BLOCK, { force: false }), { code: 'UNAVAILABLE' });
    await writeBlock(volume, 100);
    await arrives(made, late);
    const next = await reopened(made);
    assert.equal(next.device.geometry.sizeBytes, 128 * BLOCK);
    assert.deepEqual(await readBlock(next, 100), blockOf(100));
  });

  test('a shrink is taken back', async () => {
    const { made, volume, late } = await afterFailedShrink();
    failPut(made.store, RECORD, 2);
    await assert.rejects(volume.resize(16 * BLOCK, { force: true }), { code: 'UNAVAILABLE' });
    await arrives(made, late);
    assert.equal((await reopened(made)).device.geometry.sizeBytes, 64 * BLOCK);
  });
});

test('a record that arrives, or is restored, after a later resize does not take that back either', async () => {
  const made = bench();
  const volume = await made.open();
  await writeBlock(volume, 0);
  await volume.resize(128 * BLOCK, { force: false });
  const late = putsOf(made, RECORD).at(-1);
  await volume.resize(256 * BLOCK, { force: false });
  await writeBlock(volume, 255);
  await volume.close(never);
  await arrives(made, late);
  assert.equal((await recordIn(made.store))?.sizeBytes, 128 * BLOCK);
  const next = await made.open(NO_SIZES);
  assert.equal(next.device.geometry.sizeBytes, 256 * BLOCK);
  assert.deepEqual(await readBlock(next, 255), blockOf(255));
  await next.close(never);
  assert.equal((await recordIn(made.store))?.sizeBytes, 256 * BLOCK);
});

test('what s3backer has resized since keeps that size, also once we have written block 0 again', async () => {
  const made = bench();
  const first = await made.open();
  await writeBlock(first, 0);
  const [before] = putsOf(made, BLOCK_0);
  await first.close(never);
  const oldRecord = await recordIn(made.store);
  assert.ok(oldRecord);
  const sizes = { 's3backer-blocksize': String(BLOCK), 's3backer-filesize': String(128 * BLOCK) };
  await putS3backerBlock(made.store.inner, BLOCK_0, blockOf(0), sizes);
  const second = await made.open(NO_SIZES);
  assert.equal(second.device.geometry.sizeBytes, 128 * BLOCK);
  await writeBlock(second, 0, blockOf(1));
  await second.close(never);
  const [ours] = putsOf(made, BLOCK_0).slice(-1);
  await arrives(made, before);
  assert.equal((await made.open({ ...NO_SIZES, readOnly: true })).device.geometry.sizeBytes, 128 * BLOCK);
  await arrives(made, ours);
  await made.store.inner.put(RECORD, formatRecord(oldRecord));
  assert.equal((await made.open({ ...NO_SIZES, readOnly: true })).device.geometry.sizeBytes, 128 * BLOCK);
});

test('a record that was deleted is made again from block 0, which is then that of another volume', async () => {
  const made = bench();
  const volume = await made.open();
  await writeBlock(volume, 0);
  await volume.resize(128 * BLOCK, { force: false });
  await volume.close(never);
  await made.store.inner.delete([RECORD]);
  for (const blocks of [128, 256]) {
    const again = await made.open(NO_SIZES);
    assert.equal(again.device.geometry.sizeBytes, blocks * BLOCK);
    assert.notEqual(again.record.volumeId, volume.record.volumeId);
    await again.resize(256 * BLOCK, { force: false });
    await again.close(never);
  }
});

test('a count of resizes in block 0 that is as large as numbers go does not make the record one that cannot be read', async () => {
  const made = bench();
  const volume = await made.open();
  await writeBlock(volume, 0);
  await volume.close(never);
  const found = await made.store.inner.head(BLOCK_0);
  const metadata = { ...found?.metadata, 'bucketdisk-resizes': String(Number.MAX_SAFE_INTEGER) };
  await putS3backerBlock(made.store.inner, BLOCK_0, blockOf(0), metadata);
  for (const blocks of [128, 256]) {
    const again = await made.open(NO_SIZES);
    await again.resize(blocks * BLOCK, { force: false });
    await again.close(never);
  }
  const last = await made.open(NO_SIZES);
  assert.equal(last.device.geometry.sizeBytes, 256 * BLOCK);
  await last.close(never);
});
