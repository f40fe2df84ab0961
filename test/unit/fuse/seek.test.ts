/** Looking for data and holes in large and finely divided devices. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { seekExtents } from '../../../src/fuse/seek.ts';
import type { DeviceExtent } from '../../../src/volume/block-device.ts';
import { MemoryDevice } from '../../conformance/nbd/memory-device.ts';

const BLOCK = 4096;

/** Of any size, without the memory: what is data is said by its blocks. */
class SparseDevice extends MemoryDevice {
  readonly #dataBlocks: ReadonlySet<number>;

  constructor(sizeBytes: number, dataBlocks: readonly number[]) {
    super(0, { sizeBytes });
    this.#dataBlocks = new Set(dataBlocks);
  }

  override extents(offset: number, length: number, countMax = Number.POSITIVE_INFINITY): DeviceExtent[] {
    this.calls.push(`extents ${offset} ${length}`);
    const extents: DeviceExtent[] = [];
    const edges = [...this.#dataBlocks].flatMap((block) => [block * BLOCK, (block + 1) * BLOCK]);
    const end = offset + length;
    const cuts = [...new Set([offset, ...edges.filter((edge) => edge > offset && edge < end), end])].sort(
      (a, b) => a - b,
    );
    for (let i = 1; i < cuts.length && extents.length < countMax; i++) {
      const [from = 0, to = 0] = [cuts[i - 1], cuts[i]];
      const hole = !this.#dataBlocks.has(Math.floor(from / BLOCK));
      extents.push({ length: to - from, hole, zero: hole, state: hole ? 'absent' : 'clean' });
    }
    return extents;
  }
}

test('ten terabytes of nothing are told of in one step', async () => {
  const size = 10 * 2 ** 40;
  const empty = new SparseDevice(size, []);
  assert.equal(await seekExtents(empty, 0, false), null);
  assert.equal(await seekExtents(empty, 5, true), 5);
  assert.equal(empty.calls.length, 2);
  const last = new SparseDevice(size, [size / BLOCK - 1]);
  assert.equal(await seekExtents(last, 0, false), size - BLOCK);
});

test('finds what a walk over all blocks finds', async () => {
  const blocks = 20_000;
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.nat(blocks - 1), { maxLength: 400 }),
      fc.nat(blocks * BLOCK - 1),
      fc.boolean(),
      async (data, offset, hole) => {
        const device = new SparseDevice(blocks * BLOCK, data);
        let block = Math.floor(offset / BLOCK);
        while (block < blocks && data.includes(block) === hole) block++;
        const expected = block === blocks ? (hole ? blocks * BLOCK : null) : Math.max(offset, block * BLOCK);
        assert.equal(await seekExtents(device, offset, hole), expected);
      },
    ),
    { numRuns: 100 },
  );
});
