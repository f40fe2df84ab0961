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
  resizeUnshown: false,
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
    recordEtag: 'etag',
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
    ['ours, of an earlier one and the same size', { blocks: 16, mark: { resizes: 1 } }, { block0Differs: true }],
    // The record is an older one, restored or itself a put that has come late.
    ['ours, of a later one', { blocks: 32, mark: { resizes: 5 } }, { blocks: 32, resizes: 5, stale: true }],
    ['ours, of a later one, and smaller', { blocks: 8, mark: { resizes: 4 } }, { blocks: 8, resizes: 4, stale: true }],
    ['ours, of a later one and the same size', { blocks: 16, mark: { resizes: 7 } }, { resizes: 7, stale: true }],
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

describe('with a resize under way, which is taken back', () => {
  for (const resizeToBytes of [32 * BLOCK, 8 * BLOCK]) {
    const what = resizeToBytes > 16 * BLOCK ? 'growing' : 'shrinking';
    /** Beyond what may still be under way of it. */
    const takenBack = { blocks: 16, resizes: 5, resizingTo: null, block0Differs: true, stale: true };

    test(`${what}, without block 0`, () => {
      assert.deepEqual(settled({ resizeToBytes, resizeUnshown: true }, null), { ...takenBack, block0Differs: false });
    });

    for (const resizes of [0, 3]) {
      test(`${what}, with a block 0 of ours of resize ${resizes}, whatever size it says`, () => {
        for (const blocks of [16, 64, 4]) {
          assert.deepEqual(settled({ resizeToBytes, resizeUnshown: true }, { blocks, mark: { resizes } }), takenBack);
        }
      });
    }

    test(`${what}, but a block 0 of ours of a later resize is right: the record is an older one`, () => {
      for (const blocks of [32, 8, 64]) {
        const { blocks: found, resizes } = settled(
          { resizeToBytes, resizeUnshown: true },
          { blocks, mark: { resizes: 4 } },
        );
        assert.deepEqual([found, resizes], [blocks, 5]);
      }
    });

    test(`${what}, but a block 0 of others is right`, () => {
      for (const mark of [null, { volumeId: 'decaf', resizes: 1 }]) {
        for (const blocks of [16, 64, 4]) {
          const found = settled({ resizeToBytes, resizeUnshown: true }, { blocks, mark });
          assert.deepEqual(found, { ...takenBack, blocks, block0Differs: false });
        }
      }
    });

    test(`${what}, but where block 0 says what it was to come to, nothing is cut off`, () => {
      for (const mark of [null, { resizes: 3 }]) {
        assert.equal(
          settled({ resizeToBytes, resizeUnshown: true }, { blocks: resizeToBytes / BLOCK, mark }).blocks,
          what === 'growing' ? 32 : 16,
        );
      }
    });
  }
});

describe('with a resize under way that an earlier version began, which showed a growing before the record had its end', () => {
  for (const resizeToBytes of [32 * BLOCK, 8 * BLOCK]) {
    const what = resizeToBytes > 16 * BLOCK ? 'growing' : 'shrinking';
    const larger = Math.max(16, resizeToBytes / BLOCK);
    const rows: [string, Block0 | null, number][] = [
      ['no block 0', null, larger],
      ['what it was to come to', { blocks: resizeToBytes / BLOCK, mark: { resizes: 3 } }, larger],
      ['what it was to come to, without a count', { blocks: resizeToBytes / BLOCK, mark: null }, larger],
      ['the size of before', { blocks: 16, mark: { resizes: 2 } }, 16],
      ['the size of before, without a count', { blocks: 16, mark: null }, 16],
      ['the size of an earlier resize, come late', { blocks: 24, mark: { resizes: 1 } }, larger],
      ['a size of s3backer', { blocks: 24, mark: null }, 24],
    ];
    for (const [name, block0, blocks] of rows) {
      test(`${what}: block 0 says ${name}`, () => {
        const { resizeUnshown: _, ...written } = { ...RECORD_OF_16, resizeToBytes };
        const object = { key: RECORD, body: formatRecord(written as VolumeRecord) } as Parameters<
          typeof parseRecord
        >[0];
        const found = settled(parseRecord(object), block0);
        assert.deepEqual([found.blocks, found.resizes, found.stale], [blocks, 5, true]);
      });
    }
  }
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
      assert.deepEqual(
        made.log.messages('warn').filter((message) => /block 0.*it has been corrected/.test(message)).length,
        1,
      );
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

describe('a put of block 0 of an earlier resize that arrives while another has not ended', () => {
  for (const blocks of [256, 16]) {
    test(`to ${blocks} blocks counts for nothing`, async () => {
      const made = bench();
      const volume = await made.open();
      for (const block of [0, 40]) await writeBlock(volume, block);
      await volume.resize(128 * BLOCK, { force: false });
      const late = putsOf(made, BLOCK_0).at(-1);
      await volume.resize(64 * BLOCK, { force: true });
      failPut(made.store, RECORD, 2);
      await assert.rejects(volume.resize(blocks * BLOCK, { force: true }), { code: 'UNAVAILABLE' });
      await arrives(made, late);
      assert.equal(await sizeInBlock0(made), 128);
      const next = bench({ bucket: made.store.inner });
      const reopened = await next.open(NO_SIZES);
      assert.equal(reopened.device.geometry.sizeBytes, 64 * BLOCK);
      assert.equal(await sizeInBlock0(next), 64);
      const record = await recordIn(next.store);
      assert.deepEqual([record?.sizeBytes, record?.resizeToBytes], [64 * BLOCK, null]);
      for (const block of [0, 40]) assert.deepEqual(await readBlock(reopened, block), blockOf(block));
      await reopened.close(never);
    });
  }
});

describe('a put of the record that arrives late', () => {
  /** In a store that honours conditions as it was made, in another one without. */
  async function arrivesAsMade({ store }: Bench, put: Operation | undefined, conditional: boolean): Promise<void> {
    assert.ok(put?.body);
    const { headers, ifMatch, ifNoneMatch } = put.options;
    const condition = { ...(ifMatch ? { ifMatch } : {}), ...(ifNoneMatch ? { ifNoneMatch } : {}) };
    if (conditional) assert.ok(ifMatch ?? ifNoneMatch, 'it is conditional');
    await store.inner
      .put(put.keys[0] ?? '', put.body, {
        ...(headers === undefined ? {} : { headers }),
        ...(conditional ? condition : {}),
      })
      .catch(() => {});
  }

  /** The next start shows a size, whose last block is written; then `late` arrives, and the start after that finds both. */
  async function whatIsShownStays(made: Bench, conditionalPuts: boolean, late: () => Promise<unknown>): Promise<void> {
    const start = (): Promise<Volume> => bench({ bucket: made.store.inner, conditionalPuts }).open(NO_SIZES);
    const next = await start();
    const blocks = next.device.geometry.sizeBytes / BLOCK;
    await writeBlock(next, blocks - 1);
    await late();
    const last = await start();
    assert.equal(last.device.geometry.sizeBytes, blocks * BLOCK);
    assert.deepEqual(await readBlock(last, blocks - 1), blockOf(blocks - 1));
    await last.close(never);
  }

  for (const conditionalPuts of [true, false]) {
    // Where the store honours no conditions, block 0 has to be there.
    for (const block0 of conditionalPuts ? [true, false] : [true]) {
      for (const nth of [1, 2]) {
        for (const late of [128, 32]) {
          for (const then of [64, 96, 48, 128, 32]) {
            const what = `put ${nth} of one to ${late}, then one to ${then}, ${block0 ? 'with' : 'without'} block 0`;
            test(`${conditionalPuts ? '' : 'in a store without conditions, '}${what}: the later resize counts`, async () => {
              const made = bench({ conditionalPuts });
              const first = await made.open();
              for (const block of block0 ? [0, 40] : [40]) await writeBlock(first, block);
              failPut(made.store, RECORD, nth);
              await assert.rejects(first.resize(late * BLOCK, { force: true }), { code: 'UNAVAILABLE' });
              const put = putsOf(made, RECORD).at(-1);
              // It has crashed.
              const next = bench({ bucket: made.store.inner, conditionalPuts });
              const second = await next.open(NO_SIZES);
              assert.equal(second.device.geometry.sizeBytes, 64 * BLOCK);
              await second.resize(then * BLOCK, { force: true });
              await writeBlock(second, then - 1);
              await arrivesAsMade(next, put, conditionalPuts);
              const last = bench({ bucket: made.store.inner, conditionalPuts });
              const third = await last.open(NO_SIZES);
              assert.equal(third.device.geometry.sizeBytes, then * BLOCK);
              assert.deepEqual(await readBlock(third, then - 1), blockOf(then - 1));
              if (then > 40) assert.deepEqual(await readBlock(third, 40), blockOf(40));
              assert.equal((await recordIn(last.store))?.sizeBytes, then * BLOCK);
              await third.close(never);
            });
          }
        }
      }
    }
  }

  test('in the same process, after what it was has been taken back', async () => {
    for (const nth of [1, 2]) {
      const made = bench();
      const volume = await made.open();
      await writeBlock(volume, 40);
      failPut(made.store, RECORD, nth);
      await assert.rejects(volume.resize(128 * BLOCK, { force: false }), { code: 'UNAVAILABLE' });
      const put = putsOf(made, RECORD).at(-1);
      await volume.resize(64 * BLOCK, { force: false });
      await arrivesAsMade(made, put, true);
      const reopened = await bench({ bucket: made.store.inner }).open(NO_SIZES);
      assert.equal(reopened.device.geometry.sizeBytes, 64 * BLOCK);
      assert.deepEqual(await readBlock(reopened, 40), blockOf(40));
      await reopened.close(never);
    }
  });

  test('after two resizes that failed, whatever has arrived of them by the next start: what that found stays', async () => {
    for (const block0 of [true, false]) {
      for (const firstNth of [1, 2]) {
        for (const nth of [1, 2, 3, 4]) {
          for (const early of ['at once', 0, 1, 2] as const) {
            const made = bench();
            const volume = await made.open();
            for (const block of block0 ? [0, 40] : [40]) await writeBlock(volume, block);
            const lost: Operation[] = [];
            const fail = (which: number): void => {
              let puts = 0;
              made.store.before = (put) => {
                if (put.kind !== 'put' || put.keys[0] !== RECORD || ++puts !== which) return;
                lost.push(put);
                throw unreachable();
              };
            };
            fail(firstNth);
            await assert.rejects(volume.resize(128 * BLOCK, { force: false }), { code: 'UNAVAILABLE' });
            if (early === 'at once') await arrivesAsMade(made, lost[0], true);
            fail(nth);
            await volume.resize(96 * BLOCK, { force: false }).catch(() => {});
            await writeBlock(volume, 41);
            if (early !== 'at once' && early < lost.length) await arrivesAsMade(made, lost[early], true);
            const next = bench({ bucket: made.store.inner });
            const second = await next.open(NO_SIZES);
            const blocks = second.device.geometry.sizeBytes / BLOCK;
            await writeBlock(second, blocks - 1);
            for (const put of lost.toReversed()) await arrivesAsMade(next, put, true);
            const third = await bench({ bucket: made.store.inner }).open(NO_SIZES);
            const what = `${block0}, ${firstNth}, ${nth}, ${early}`;
            assert.equal(third.device.geometry.sizeBytes, blocks * BLOCK, what);
            for (const block of [40, 41, blocks - 1])
              assert.deepEqual(await readBlock(third, block), blockOf(block), what);
            await third.close(never);
          }
        }
      }
    }
  });

  test('after a start that failed as block 0 got no answer, which comes late as well: what has been shown since stays', async () => {
    const made = bench();
    const volume = await made.open();
    await writeBlock(volume, 0);
    failPut(made.store, RECORD, 2);
    await assert.rejects(volume.resize(128 * BLOCK, { force: false }), { code: 'UNAVAILABLE' });
    const end = putsOf(made, RECORD).at(-1);
    const failing = bench({ bucket: made.store.inner });
    failPut(failing.store, BLOCK_0, 1);
    await assert.rejects(failing.open(NO_SIZES), { code: 'UNAVAILABLE' });
    const block0 = putsOf(failing, BLOCK_0).at(-1);
    await arrivesAsMade(made, end, true);
    await whatIsShownStays(made, true, () => arrives(made, block0));
  });

  test('in a store without conditions, after a start that failed as the record got no answer, which comes late as well', async () => {
    const made = bench({ conditionalPuts: false });
    const volume = await made.open();
    await writeBlock(volume, 0);
    failPut(made.store, RECORD, 2);
    await assert.rejects(volume.resize(128 * BLOCK, { force: false }), { code: 'UNAVAILABLE' });
    const failing = bench({ bucket: made.store.inner, conditionalPuts: false });
    failPut(failing.store, RECORD, 1);
    await assert.rejects(failing.open(NO_SIZES), { code: 'UNAVAILABLE' });
    await arrivesAsMade(made, putsOf(made, RECORD).at(-1), false);
    await whatIsShownStays(made, false, () => arrivesAsMade(failing, putsOf(failing, RECORD).at(-1), false));
  });

  test('between the look of a start and its put: that looks again, and does not overwrite the end of a resize', async () => {
    const made = bench();
    const volume = await made.open();
    await writeBlock(volume, 40);
    failPut(made.store, RECORD, 2);
    await assert.rejects(volume.resize(128 * BLOCK, { force: false }), { code: 'UNAVAILABLE' });
    const put = putsOf(made, RECORD).at(-1);
    const next = bench({ bucket: made.store.inner });
    let looks = 0;
    next.store.after = async ({ kind, keys }) => {
      if (kind === 'get' && keys[0] === RECORD && ++looks === 2) await arrivesAsMade(next, put, true);
    };
    const reopened = await next.open(NO_SIZES);
    assert.equal(reopened.device.geometry.sizeBytes, 128 * BLOCK);
    assert.equal((await recordIn(next.store))?.sizeBytes, 128 * BLOCK);
    await reopened.close(never);
  });

  test('between the look and the put of the next one: that looks again', async () => {
    const made = bench();
    const volume = await made.open();
    failPut(made.store, RECORD, 1);
    await assert.rejects(volume.resize(128 * BLOCK, { force: false }), { code: 'UNAVAILABLE' });
    const put = putsOf(made, RECORD).at(-1);
    let looks = 0;
    made.store.after = async ({ kind, keys }) => {
      if (kind === 'get' && keys[0] === RECORD && looks++ === 0) await arrivesAsMade(made, put, true);
    };
    await volume.resize(96 * BLOCK, { force: false });
    const record = await recordIn(made.store);
    assert.deepEqual([record?.sizeBytes, record?.resizeToBytes], [96 * BLOCK, null]);
    assert.ok(looks > 1);
  });
});

test('a record that is older by its count alone is written anew at a start: a later one of before is not taken for newer', async () => {
  const made = bench();
  const volume = await made.open();
  await writeBlock(volume, 0);
  const restored = await made.store.inner.get(RECORD);
  assert.ok(restored);
  await volume.resize(128 * BLOCK, { force: false });
  await volume.resize(64 * BLOCK, { force: true });
  const { resizes } = volume.record;
  await volume.close(never);
  await made.store.inner.put(RECORD, restored.body);
  assert.equal((await recordIn(made.store))?.resizes, 0);
  const next = await made.open(NO_SIZES);
  assert.equal((await recordIn(made.store))?.resizes, resizes);
  assert.equal(next.device.geometry.sizeBytes, 64 * BLOCK);
  await next.close(never);
});

describe('block 0 that is damaged', () => {
  async function damaged(made: Bench, metadata: Readonly<Record<string, string>>): Promise<void> {
    const headers = { metadata, contentType: 'application/x-s3backer-block', contentEncoding: 'deflate' };
    await made.store.inner.put(BLOCK_0, Buffer.from('rotten'), { headers });
  }

  for (const blocks of [32, 128]) {
    test(`and tells of before a resize to ${blocks} blocks that is taken back does not refuse the start`, async () => {
      const made = bench();
      const volume = await made.open();
      for (const block of [0, 40]) await writeBlock(volume, block);
      failPut(made.store, RECORD, 2);
      await assert.rejects(volume.resize(blocks * BLOCK, { force: true }), { code: 'UNAVAILABLE' });
      const { metadata } = (await made.store.inner.head(BLOCK_0)) ?? {};
      assert.ok(metadata);
      await damaged(made, metadata);
      for (let starts = 0; starts < 2; starts++) {
        const next = bench({ bucket: made.store.inner });
        const again = await next.open(NO_SIZES);
        assert.equal(again.device.geometry.sizeBytes, 64 * BLOCK);
        assert.equal((await recordIn(next.store))?.resizeToBytes, null);
        assert.match(next.log.messages('warn').join('; '), /block 0 is damaged/);
        assert.deepEqual(await readBlock(again, 40), blockOf(40));
        await assert.rejects(readBlock(again, 0), { code: 'CORRUPT' });
        await again.close(never);
      }
      const last = await made.open(NO_SIZES);
      await writeBlock(last, 0);
      assert.equal(await sizeInBlock0(made), 64);
      await last.close(never);
    });
  }

  test('and was not written by this volume of ours: the start is refused where it would be taken for right later', async () => {
    const made = bench();
    const volume = await made.open();
    failPut(made.store, RECORD, 2);
    await assert.rejects(volume.resize(32 * BLOCK, { force: true }), { code: 'UNAVAILABLE' });
    const sizes = { 's3backer-blocksize': String(BLOCK), 's3backer-filesize': String(32 * BLOCK) };
    await damaged(made, sizes);
    for (let starts = 0; starts < 2; starts++)
      await assert.rejects(bench({ bucket: made.store.inner }).open(NO_SIZES), { code: 'CORRUPT' });
    await putS3backerBlock(made.store.inner, BLOCK_0, blockOf(0), sizes);
    assert.equal((await bench({ bucket: made.store.inner }).open(NO_SIZES)).device.geometry.sizeBytes, 64 * BLOCK);
    assert.equal(await sizeInBlock0(made), 64);
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
