/** What every Layout must do: run on each variant of each layout, over each store. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { Extent, Layout } from '../../../src/layout/layout.ts';
import type { ObjectStore } from '../../../src/object/object-store.ts';
import { rejectsWith } from '../object-store/suite.ts';

export interface LayoutUnderTest {
  /** Opens the volume, of `blocks` blocks; asked again it opens the same volume as another process would. */
  readonly open: (blocks: number) => Layout;
  /** What it stands on. */
  readonly store: ObjectStore;
  readonly close: () => Promise<void>;
}

export interface LayoutSuiteOptions {
  readonly blockSizeBytes: number;
  /** It tells holes from data once it has looked at them. */
  readonly knowsHoles: boolean;
}

/** Bytes that are never zero. */
function pattern(length: number, seed: number): Buffer {
  return Buffer.from(Array.from({ length }, (_, i) => ((seed * 31 + i * 7) % 255) + 1));
}

async function write(layout: Layout, offset: number, data: Buffer): Promise<void> {
  await layout.commit({ extents: [{ offset, data }] });
}

async function zero(layout: Layout, offset: number, zeroLength: number): Promise<void> {
  await layout.commit({ extents: [{ offset, zeroLength }] });
}

/** As a volume does it. */
export async function resize(layout: Layout, sizeBytes: number, signal = new AbortController().signal): Promise<void> {
  if (sizeBytes <= layout.sizeBytes) return layout.cutOff(sizeBytes, signal);
  await layout.clearBeyondEnd(sizeBytes, signal);
  layout.extend(sizeBytes);
}

async function countObjects(store: ObjectStore): Promise<number> {
  let count = 0;
  for await (const page of store.list('')) count += page.length;
  return count;
}

function totalLength(extents: readonly Extent[]): number {
  return extents.reduce((sum, { length }) => sum + length, 0);
}

export function layoutSuite(
  name: string,
  setUp: () => Promise<LayoutUnderTest>,
  { blockSizeBytes: block, knowsHoles }: LayoutSuiteOptions,
): void {
  const BLOCKS = 10;
  const it = (what: string, body: (under: LayoutUnderTest, layout: Layout) => Promise<void>): void => {
    test(what, async () => {
      const under = await setUp();
      const layout = under.open(BLOCKS);
      try {
        await body(under, layout);
        await layout.close();
      } finally {
        await under.close();
      }
    });
  };

  describe(`layout: ${name}`, () => {
    it('a new volume is zeros of the size given, and costs nothing', async ({ store }, layout) => {
      assert.equal(layout.sizeBytes, BLOCKS * block);
      assert.equal(layout.blockSizeBytes, block);
      assert.deepEqual(await layout.read(0, BLOCKS * block), Buffer.alloc(BLOCKS * block));
      assert.equal(await countObjects(store), 0);
    });

    it('what was written is read, at every alignment and length, and by whoever opens it next', async ({
      open,
    }, layout) => {
      const image = Buffer.alloc(BLOCKS * block);
      const ranges = [
        [0, 1],
        [block - 1, 2],
        [block, block],
        [2 * block + 1, block],
        [3 * block - 3, 2 * block + 7],
        [BLOCKS * block - 1, 1],
        [6 * block, 3 * block],
        [6 * block + 5, 1],
      ] as const;
      for (const [i, [offset, length]] of ranges.entries()) {
        const data = pattern(length, i + 1);
        await write(layout, offset, data);
        data.copy(image, offset);
        assert.deepEqual(await layout.read(offset, length), image.subarray(offset, offset + length));
      }
      const next = open(BLOCKS);
      for (const reader of [layout, next]) {
        assert.deepEqual(await reader.read(0, image.length), image);
        for (const [offset, length] of ranges) {
          const from = Math.max(0, offset - 1);
          const end = Math.min(image.length, offset + length + 1);
          assert.deepEqual(await reader.read(from, end - from), image.subarray(from, end));
        }
      }
      await next.close();
    });

    it('a batch of several extents is stored whole', async ({ open }, layout) => {
      const image = pattern(BLOCKS * block, 1);
      await write(layout, 0, image);
      const extents = [
        { offset: 3, data: pattern(block, 2) },
        { offset: 2 * block, zeroLength: 2 * block },
        { offset: 5 * block - 1, data: pattern(2, 3) },
        { offset: 7 * block + 1, zeroLength: 1 },
      ];
      await layout.commit({ extents });
      for (const { offset, data, zeroLength } of extents) {
        if (data !== undefined) data.copy(image, offset);
        else image.fill(0, offset, offset + zeroLength);
      }
      await layout.commit({ extents: [] });
      assert.deepEqual(await open(BLOCKS).read(0, image.length), image);
    });

    it('zeroed bytes read as zeros and their neighbours as before; whole blocks take no room', async ({
      open,
      store,
    }, layout) => {
      const image = pattern(BLOCKS * block, 5);
      await write(layout, 0, image);
      const full = await countObjects(store);
      for (const [offset, length] of [
        [1, 1],
        [block, block],
        [2 * block + 3, 2 * block],
        [6 * block - 1, 3 * block + 2],
      ] as const) {
        await zero(layout, offset, length);
        image.fill(0, offset, offset + length);
        assert.deepEqual(await layout.read(0, image.length), image);
      }
      assert.deepEqual(await open(BLOCKS).read(0, image.length), image);
      assert.ok((await countObjects(store)) < full);
      await zero(layout, 0, image.length);
      assert.deepEqual(await open(BLOCKS).read(0, image.length), Buffer.alloc(image.length));
      assert.equal(await countObjects(store), 0);
    });

    it('zeros that are written take no room either', async ({ store }, layout) => {
      await write(layout, 0, pattern(3 * block, 1));
      await write(layout, 0, Buffer.alloc(block));
      await write(layout, block, Buffer.alloc(1));
      await write(layout, block + 1, Buffer.alloc(block - 1));
      await write(layout, 5 * block, Buffer.alloc(2 * block + 1));
      assert.deepEqual(await layout.read(0, 2 * block), Buffer.alloc(2 * block));
      assert.equal(await countObjects(store), 1);
    });

    it('overlapping requests take effect in the order they were made', async (_under, layout) => {
      const image = Buffer.alloc(BLOCKS * block);
      const reads: Promise<void>[] = [];
      const writes: Promise<void>[] = [];
      for (let i = 0; i < 60; i++) {
        const offset = (i * 37) % (4 * block);
        const length = 1 + ((i * 53) % (3 * block));
        if (i % 3 === 2) {
          const expected = Buffer.from(image.subarray(offset, offset + length));
          reads.push(layout.read(offset, length).then((bytes) => assert.deepEqual(bytes, expected, `request ${i}`)));
        } else if (i % 7 === 0) {
          writes.push(zero(layout, offset, length));
          image.fill(0, offset, offset + length);
        } else {
          const data = pattern(length, i);
          writes.push(write(layout, offset, data));
          data.copy(image, offset);
        }
      }
      await Promise.all([...reads, ...writes]);
      assert.deepEqual(await layout.read(0, image.length), image);
    });

    it('extents cover the range, and no hole has anything in it', async (_under, layout) => {
      await write(layout, block, pattern(block, 1));
      await write(layout, 4 * block + 1, pattern(1, 1));
      for (const [offset, length] of [
        [0, BLOCKS * block],
        [1, block],
        [block - 1, 2],
        [4 * block, 1],
        [BLOCKS * block - 1, 1],
      ] as const) {
        const extents = await layout.extents(offset, length);
        assert.equal(totalLength(extents), length);
        let at = offset;
        for (const [i, extent] of extents.entries()) {
          assert.ok(extent.length > 0);
          const following = extents[i + 1];
          if (following !== undefined) assert.notDeepEqual({ ...following, length: 0 }, { ...extent, length: 0 });
          const bytes = await layout.read(at, extent.length);
          if (extent.hole || extent.zero) assert.ok(bytes.every((byte) => byte === 0));
          at += extent.length;
        }
      }
    });

    if (knowsHoles) {
      it('what has been seen to be empty is a hole, what was written is not', async (_under, layout) => {
        await layout.read(0, BLOCKS * block);
        await write(layout, block, pattern(2 * block, 1));
        assert.deepEqual(await layout.extents(1, 5 * block), [
          { length: block - 1, hole: true, zero: true },
          { length: 2 * block, hole: false, zero: false },
          { length: 2 * block + 1, hole: true, zero: true },
        ]);
        await zero(layout, block, 2 * block);
        assert.deepEqual(await layout.extents(0, BLOCKS * block), [{ length: BLOCKS * block, hole: true, zero: true }]);
      });
    }

    it('a range of whole blocks is zeroed fast, one that cuts into data is not', async (_under, layout) => {
      await write(layout, 0, pattern(3 * block, 1));
      assert.equal(layout.zeroesFast(0, 3 * block), true);
      assert.equal(layout.zeroesFast(block, block), true);
      assert.equal(layout.zeroesFast(1, block - 1), false);
      assert.equal(layout.zeroesFast(0, block + 1), false);
    });

    it('a volume that grows keeps its bytes and adds zeros, whatever lay beyond its end', async ({ open }, layout) => {
      const image = pattern(BLOCKS * block, 9);
      await write(layout, 0, image);
      const small = open(BLOCKS - 4);
      await resize(small, BLOCKS * block);
      assert.equal(small.sizeBytes, BLOCKS * block);
      image.fill(0, (BLOCKS - 4) * block);
      for (const reader of [small, open(BLOCKS)]) assert.deepEqual(await reader.read(0, image.length), image);
      await write(small, (BLOCKS - 1) * block, pattern(block, 3));
      assert.deepEqual(await open(BLOCKS).read((BLOCKS - 1) * block, block), pattern(block, 3));
      await small.close();
    });

    it('a volume that shrinks keeps the rest, and what is cut off does not come back', async ({ open }, layout) => {
      const image = pattern(BLOCKS * block, 4);
      await write(layout, 0, image);
      await resize(layout, 3 * block);
      assert.equal(layout.sizeBytes, 3 * block);
      assert.deepEqual(await layout.read(0, 3 * block), image.subarray(0, 3 * block));
      await resize(layout, BLOCKS * block);
      image.fill(0, 3 * block);
      assert.deepEqual(await layout.read(0, image.length), image);
      assert.deepEqual(await open(BLOCKS).read(0, image.length), image);
    });

    it('closing waits for what is under way', async ({ open }, layout) => {
      const writing = Array.from({ length: BLOCKS }, (_, i) => write(layout, i * block, pattern(block, i)));
      await layout.close();
      const next = open(BLOCKS);
      for (let i = 0; i < BLOCKS; i++) assert.deepEqual(await next.read(i * block, block), pattern(block, i));
      await Promise.all(writing);
    });

    it('a damaged object is an error, never other bytes, and a write of the whole block mends it', async ({
      open,
      store,
    }, layout) => {
      await write(layout, 0, pattern(BLOCKS * block, 1));
      const keys: string[] = [];
      for await (const page of store.list('')) keys.push(...page.map(({ key }) => key));
      for (const key of keys) {
        const object = await store.get(key);
        if (object === null) continue;
        const { contentType, contentEncoding, metadata } = object;
        const headers = {
          metadata,
          ...(contentType === undefined ? {} : { contentType }),
          ...(contentEncoding === undefined ? {} : { contentEncoding }),
        };
        await store.put(key, object.body.subarray(0, -1), { headers });
      }
      const next = open(BLOCKS);
      const refused = rejectsWith('CORRUPT', 'ACCESS_DENIED');
      await assert.rejects(next.read(0, block), refused);
      await assert.rejects(next.read(block + 1, 1), refused);
      await assert.rejects(next.read(0, BLOCKS * block), refused);
      await assert.rejects(write(next, 2 * block, pattern(1, 1)), refused);
      await write(next, 0, pattern(BLOCKS * block, 2));
      assert.deepEqual(await open(BLOCKS).read(0, BLOCKS * block), pattern(BLOCKS * block, 2));
    });
  });
}
