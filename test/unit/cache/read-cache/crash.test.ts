/** Whatever happens to the process, the machine and the disk: no wrong bytes, and none older than a checkpoint allows. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { ModelledCache, PAGES, type Step } from './model.ts';

const range = {
  first: fc.integer({ min: 0, max: PAGES - 1 }),
  count: fc.oneof(fc.integer({ min: 1, max: 4 }), fc.integer({ min: 1, max: 64 })),
};
const rate = fc.constantFrom(0, 0, 0.1, 0.5, 1);
const next = { lines: fc.constantFrom(6, 6, 6, 3, 12), isSame: fc.constantFrom(true, true, true, true, false) };

const work = [
  {
    weight: 8,
    arbitrary: fc.record({ do: fc.constant('insert'), kind: fc.constantFrom('demand', 'ahead', 'written'), ...range }),
  },
  { weight: 4, arbitrary: fc.record({ do: fc.constant('invalidate'), ...range }) },
  { weight: 4, arbitrary: fc.record({ do: fc.constant('read'), ...range }) },
  { weight: 8, arbitrary: fc.record({ do: fc.constant('wait'), turns: fc.integer({ min: 1, max: 12 }) }) },
  { weight: 5, arbitrary: fc.record({ do: fc.constant('checkpoint') }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constantFrom('clear', 'pass') }) },
] as fc.WeightedArbitrary<Step>[];
const ends = [
  { weight: 2, arbitrary: fc.record({ do: fc.constantFrom('crash', 'kill'), ...next }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('close'), ...next }) },
] as fc.WeightedArbitrary<Step>[];
const faults = [
  {
    weight: 1,
    arbitrary: fc.record({
      do: fc.constant('fail'),
      faults: fc.record({ read: rate, write: rate, sync: rate, names: rate }),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({ do: fc.constant('fill'), roomBytes: fc.constantFrom(0, 4096, 100_000, Infinity) }),
  },
] as fc.WeightedArbitrary<Step>[];
const rot = {
  weight: 1,
  arbitrary: fc.record({
    do: fc.constant('rot'),
    file: fc.constantFrom('lines', 'lines', 'index', 'index.journal'),
    share: fc.double({ min: 0, max: 0.999, noNaN: true }),
  }),
} as fc.WeightedArbitrary<Step>;

/** Returns how many pages were read in a later life than that in which they came. */
async function holds(steps: readonly fc.WeightedArbitrary<Step>[], runs: number): Promise<number> {
  let survivors = 0;
  await fc.assert(
    fc.asyncProperty(
      fc.nat(),
      fc.array(fc.oneof(...steps), { minLength: 20, maxLength: 80, size: 'max' }),
      async (seed, list) => {
        const model = await ModelledCache.start(seed, 6);
        for (const step of list) await model.take(step);
        await model.finish();
        survivors += model.survivors;
      },
    ),
    { numRuns: runs },
  );
  return survivors;
}

describe('never a wrong byte, never an old one', () => {
  it('with power cuts, kills and restarts in other sizes and for other volumes', async () => {
    assert.ok((await holds([...work, ...ends], 150)) > 600);
  });

  it('on a disk that fails and is full besides', async () => {
    assert.ok((await holds([...work, ...ends, ...faults], 150)) > 200);
  });

  it('where what the last checkpoint wrote rots, and the power goes before the next', async () => {
    for (let seed = 0; seed < 20; seed++) {
      const model = await ModelledCache.start(seed, 6);
      await model.take({ do: 'insert', kind: 'demand', first: 0, count: 48 });
      await model.take({ do: 'wait', turns: 20 });
      await model.take({ do: 'close', lines: 6, isSame: true });
      await model.take({ do: 'invalidate', first: 0, count: 2 });
      await model.take({ do: 'checkpoint' });
      await model.take({ do: 'wait', turns: 20 });
      await model.take({ do: 'rot', file: 'index.journal', share: 0 });
      await model.finish();
    }
  });

  it('and that forgets', async () => {
    assert.ok((await holds([...work, ...ends, ...faults, rot], 150)) > 100);
  });
});
