/** Pieces of a block put together: held against bytes written one by one. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import type { Patch } from '../../../../src/layout/blocks/block-queues.ts';
import { changeNothing, composeBlock, coverBlock } from '../../../../src/layout/blocks/patches.ts';

const BLOCK = 32;

const patch: fc.Arbitrary<Patch> = fc
  .record({ a: fc.nat({ max: BLOCK }), b: fc.nat({ max: BLOCK }), fill: fc.option(fc.nat({ max: 2 })) })
  .map(({ a, b, fill }) => {
    const start = Math.min(a, b);
    const length = Math.abs(a - b);
    return { start, length, data: fill === null ? null : Buffer.alloc(length, fill) };
  });
const patches = fc.array(patch, { maxLength: 6 });
const base = fc.option(fc.uint8Array({ minLength: BLOCK, maxLength: BLOCK, max: 2 }));

function applyByByte(bytes: Uint8Array | null, all: readonly Patch[]): number[] {
  const image = bytes === null ? new Array<number>(BLOCK).fill(0) : [...bytes];
  for (const { start, length, data } of all) for (let i = 0; i < length; i++) image[start + i] = data?.[i] ?? 0;
  return image;
}

describe('patches', () => {
  test('a block is its base with the patches applied in order', () => {
    fc.assert(
      fc.property(base, patches, (bytes, all) => {
        const given = bytes === null ? null : Buffer.from(bytes);
        assert.deepEqual([...composeBlock(given, all, BLOCK)], applyByByte(bytes, all));
      }),
    );
  });

  test('the data of patches is never changed', () => {
    fc.assert(
      fc.property(base, patches, (bytes, all) => {
        const before = all.map(({ data }) => (data === null ? null : Buffer.from(data)));
        composeBlock(bytes === null ? null : Buffer.from(bytes), all, BLOCK);
        assert.deepEqual(
          all.map(({ data }) => data),
          before,
        );
      }),
    );
  });

  test('patches cover a block where every byte is in one of them', () => {
    fc.assert(
      fc.property(patches, (all) => {
        const touched = new Set(all.flatMap(({ start, length }) => Array.from({ length }, (_, i) => start + i)));
        assert.equal(coverBlock(all, BLOCK), touched.size === BLOCK);
      }),
    );
  });

  test('what is said to change nothing changes nothing', () => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: BLOCK, maxLength: BLOCK, max: 1 }), patches, (bytes, all) => {
        const same = applyByByte(bytes, all).every((byte, i) => byte === bytes[i]);
        if (changeNothing(Buffer.from(bytes), all)) assert.ok(same);
        else if (all.length === 1) assert.ok(!same);
      }),
    );
  });

  test('a patch of a whole block is that very buffer, without a copy', () => {
    const data = Buffer.alloc(BLOCK, 1);
    assert.equal(composeBlock(Buffer.alloc(BLOCK), [{ start: 0, length: BLOCK, data }], BLOCK), data);
  });
});
