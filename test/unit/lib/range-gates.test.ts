/** Requests on overlapping ranges keep their order around those that hold their range. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { RangeGates } from '../../../src/lib/range-gates.ts';

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

describe('range gates', () => {
  test('where nothing holds, work runs at once', () => {
    const gates = new RangeGates();
    const ran: number[] = [];
    for (let i = 0; i < 3; i++) {
      void gates.run(0, 10, false, async () => {
        ran.push(i);
      });
    }
    assert.deepEqual(ran, [0, 1, 2]);
  });

  test('what overlaps a range that is held waits; what touches it does not', async () => {
    const gates = new RangeGates();
    const held = Promise.withResolvers<void>();
    const ran: string[] = [];
    const run = (name: string, first: number, end: number): Promise<void> =>
      gates.run(first, end, false, async () => {
        ran.push(name);
      });
    const holding = gates.run(10, 20, true, () => held.promise);
    const waiting = [run('inside', 12, 13), run('over', 5, 25), run('left', 5, 11)];
    await Promise.all([run('before', 0, 5), run('after', 25, 30)]);
    await turn();
    assert.deepEqual(ran, ['before', 'after']);
    // It waits, and so holds its own range too: nothing overtakes it.
    const behind = run('behind over', 21, 24);
    await turn();
    assert.deepEqual(ran, ['before', 'after']);
    held.resolve();
    await Promise.all([holding, ...waiting, behind]);
    assert.deepEqual(ran.slice(2, 3), ['inside']);
    assert.ok(ran.indexOf('behind over') > ran.indexOf('over'));
    assert.ok(ran.indexOf('left') > ran.indexOf('over'));
  });

  test('work that fails lets the next one through, and its error reaches its caller only', async () => {
    const gates = new RangeGates();
    const failing = gates.run(0, 4, true, () => Promise.reject(new Error('no')));
    const next = gates.run(0, 4, true, async () => 'done');
    await assert.rejects(failing, /no/);
    assert.equal(await next, 'done');
    let ran = false;
    void gates.run(0, 4, false, async () => {
      ran = true;
    });
    assert.equal(ran, true, 'nothing is held any more');
  });

  test('overlapping work around a holder never runs out of order, and always ends', async () => {
    const item = fc.record({
      first: fc.nat({ max: 10 }),
      length: fc.integer({ min: 1, max: 6 }),
      holds: fc.boolean(),
      turns: fc.nat({ max: 3 }),
    });
    await fc.assert(
      fc.asyncProperty(fc.array(item, { maxLength: 15 }), async (items) => {
        const gates = new RangeGates();
        const began: number[] = [];
        const ended: number[] = [];
        const all = items.map(({ first, length, holds, turns }, i) =>
          gates.run(first, first + length, holds, async () => {
            began.push(i);
            for (let k = 0; k < turns; k++) await turn();
            ended.push(i);
          }),
        );
        await Promise.all(all);
        assert.equal(ended.length, items.length);
        for (const [i, a] of items.entries()) {
          for (const [j, b] of items.entries()) {
            if (j <= i || a.first >= b.first + b.length || b.first >= a.first + a.length) continue;
            assert.ok(began.indexOf(i) < began.indexOf(j), 'begun in order');
          }
        }
      }),
      { numRuns: 100 },
    );
  });
});
