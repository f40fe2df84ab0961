/** What is known of each block: held against a plain map. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import {
  ABSENT,
  type BlockState,
  BlockStates,
  PRESENT,
  REPLACED,
  UNCERTAIN,
  UNKNOWN,
} from '../../../../src/layout/blocks/block-states.ts';

const PAGE = 65536;

/** The same, without pages. */
class PlainStates {
  count: number;
  background: BlockState = UNKNOWN;
  readonly set = new Map<number, BlockState>();

  constructor(count: number) {
    this.count = count;
  }

  get(block: number): BlockState {
    return this.set.get(block) ?? this.background;
  }

  noteRestAbsent(): void {
    for (const [block, state] of this.set) if (state === UNKNOWN) this.set.set(block, ABSENT);
    if (this.background === UNKNOWN) this.background = ABSENT;
  }

  resize(count: number): void {
    for (const block of this.set.keys()) if (block >= count) this.set.delete(block);
    this.count = count;
  }

  next(state: BlockState, wanted: boolean, from: number, end: number): number {
    const fits = (block: number): boolean => (this.get(block) === state) === wanted;
    const known = [...this.set.keys()].filter((block) => block >= from && block < end && fits(block));
    let first = Math.min(end, ...known);
    if ((this.background === state) === wanted) {
      let block = from;
      while (block < end && this.set.has(block)) block++;
      first = Math.min(first, block);
    }
    return Math.max(from, first);
  }

  total(state: BlockState, from: number, end: number): number {
    const within = [...this.set].filter(([block]) => block >= from && block < end);
    const background = this.background === state ? Math.max(0, end - from) - within.length : 0;
    return background + within.filter(([, value]) => value === state).length;
  }
}

const block = fc.oneof(
  fc.nat({ max: 10 }),
  fc.integer({ min: PAGE - 3, max: PAGE + 3 }),
  fc.integer({ min: 2 * PAGE - 3, max: 2 * PAGE + 3 }),
  fc.nat({ max: 3 * PAGE }),
);
const state = fc.constantFrom<BlockState>(UNKNOWN, ABSENT, PRESENT, UNCERTAIN, REPLACED);
const step = fc.oneof(
  { weight: 8, arbitrary: fc.record({ do: fc.constant('set' as const), block, state }) },
  { weight: 3, arbitrary: fc.record({ do: fc.constant('listed' as const), block }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('rest' as const) }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('resize' as const), block }) },
  {
    weight: 4,
    arbitrary: fc.record({ do: fc.constant('next' as const), state, wanted: fc.boolean(), a: block, b: block }),
  },
  { weight: 3, arbitrary: fc.record({ do: fc.constant('count' as const), state, a: block, b: block }) },
);

describe('block states', () => {
  test('whatever is done, they are as a plain map has them', () => {
    fc.assert(
      fc.property(block, fc.array(step, { maxLength: 60 }), (initial, steps) => {
        const states = new BlockStates(initial + 1);
        const model = new PlainStates(initial + 1);
        for (const s of steps) {
          if (s.do === 'rest') {
            states.noteRestAbsent();
            model.noteRestAbsent();
          } else if (s.do === 'resize') {
            states.resize(s.block + 1);
            model.resize(s.block + 1);
          } else if (s.do === 'set') {
            if (s.block >= model.count) continue;
            states.set(s.block, s.state);
            model.set.set(s.block, s.state);
          } else if (s.do === 'listed') {
            if (s.block >= model.count) continue;
            states.noteListed(s.block);
            if (model.get(s.block) === UNKNOWN) model.set.set(s.block, PRESENT);
          } else {
            const from = Math.min(s.a, s.b, model.count);
            const end = Math.min(Math.max(s.a, s.b), model.count);
            if (s.do === 'next') {
              assert.equal(states.next(s.state, s.wanted, from, end), model.next(s.state, s.wanted, from, end));
            } else {
              assert.equal(states.count(s.state, from, end), model.total(s.state, from, end));
            }
          }
          assert.equal(states.blockCount, model.count);
        }
        for (const known of model.set.keys()) assert.equal(states.get(known), model.get(known));
        for (const other of [0, 1, PAGE - 1, PAGE, 2 * PAGE]) {
          if (other < model.count) assert.equal(states.get(other), model.get(other));
        }
      }),
      { numRuns: 300 },
    );
  });

  test('a listing settles only what nothing better is known of', () => {
    const states = new BlockStates(10);
    states.set(1, ABSENT);
    states.set(2, UNCERTAIN);
    states.set(3, PRESENT);
    for (const listed of [1, 2, 4]) states.noteListed(listed);
    states.noteRestAbsent();
    assert.deepEqual(
      [0, 1, 2, 3, 4, 5].map((at) => states.get(at)),
      [ABSENT, ABSENT, UNCERTAIN, PRESENT, PRESENT, ABSENT],
    );
  });

  test('blocks that are cut off and added again have nothing left of what they were', () => {
    const states = new BlockStates(100);
    states.set(60, PRESENT);
    states.noteRestAbsent();
    states.resize(50);
    states.resize(100);
    assert.equal(states.get(60), ABSENT);
    assert.equal(states.count(PRESENT), 0);
  });

  test('the largest volume of the format costs nothing until its blocks differ', () => {
    const states = new BlockStates(2 ** 32);
    const before = process.memoryUsage().arrayBuffers;
    assert.equal(states.next(UNKNOWN, false, 0, 2 ** 32), 2 ** 32);
    assert.equal(states.count(UNKNOWN), 2 ** 32);
    states.set(2 ** 32 - 1, PRESENT);
    states.set(2 ** 31, UNCERTAIN);
    assert.equal(states.next(PRESENT, true, 0, 2 ** 32), 2 ** 32 - 1);
    assert.equal(states.next(UNKNOWN, false, 0, 2 ** 32), 2 ** 31);
    assert.equal(states.count(UNKNOWN), 2 ** 32 - 2);
    assert.ok(process.memoryUsage().arrayBuffers - before < 1024 * 1024);
  });
});
