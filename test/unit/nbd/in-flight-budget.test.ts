/** The in-flight budget: never over its limits but for one alone, first come first served, nothing lost. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { InFlightBudget, SharedBudget } from '../../../src/nbd/in-flight-budget.ts';

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

test('takes up to the limits, and one alone of any size', () => {
  const shared = new SharedBudget(100);
  const budget = new InFlightBudget(shared, 60, () => {});
  assert.equal(budget.take(1000), true);
  assert.equal(shared.usedBytes, 1000);
  budget.give(1000);
  assert.equal(budget.take(60), true);
  assert.equal(budget.take(1), false);
  assert.equal(new InFlightBudget(shared, 60, () => {}).take(40), true);
});

test('who waits is granted in a later turn, in the order they came, and nobody overtakes', async () => {
  const shared = new SharedBudget(100);
  const granted: string[] = [];
  const budgetOf = (name: string) => new InFlightBudget(shared, 1000, () => granted.push(name));
  const [first, large, small] = [budgetOf('first'), budgetOf('large'), budgetOf('small')];
  assert.equal(first.take(90), true);
  assert.equal(large.take(95), false);
  assert.equal(small.take(5), false, 'it would fit, but it came later');
  first.give(90);
  assert.deepEqual(granted, []);
  await turn();
  assert.deepEqual(granted, ['large', 'small']);
  assert.equal(shared.usedBytes, 100);
});

test('who closes while waiting makes way; who closes when it was just granted gives it back', async () => {
  const shared = new SharedBudget(100);
  const granted: string[] = [];
  const budgetOf = (name: string) => new InFlightBudget(shared, 1000, () => granted.push(name));
  const [holder, a, b] = [budgetOf('holder'), budgetOf('a'), budgetOf('b')];
  holder.take(60);
  a.take(60);
  b.take(30);
  a.close();
  await turn();
  assert.deepEqual(granted, ['b']);
  const c = budgetOf('c');
  assert.equal(c.take(50), false);
  holder.give(60);
  c.close();
  await turn();
  assert.deepEqual(granted, ['b']);
  assert.equal(shared.usedBytes, 30);
});

test('any sequence of requests is served, within the limits, and leaves nothing taken', async () => {
  const requests = fc.array(fc.integer({ min: 1, max: 120 }), { minLength: 1, maxLength: 12 });
  await fc.assert(
    fc.asyncProperty(fc.array(requests, { minLength: 1, maxLength: 5 }), async (connections) => {
      const shared = new SharedBudget(100);
      let outstanding = 0;
      let served = 0;
      const run = async (sizes: number[]): Promise<void> => {
        let wake = (): void => {};
        const budget = new InFlightBudget(shared, 70, () => wake());
        for (const bytes of sizes) {
          const granted = new Promise<void>((resolve) => {
            wake = resolve;
          });
          if (!budget.take(bytes)) await granted;
          outstanding++;
          assert.ok(shared.usedBytes <= 100 || outstanding === 1);
          assert.ok(budget.usedBytes <= 70 || budget.usedBytes === bytes);
          setImmediate(() => {
            outstanding--;
            served++;
            budget.give(bytes);
          });
        }
      };
      await Promise.all(connections.map(run));
      await turn();
      assert.equal(served, connections.flat().length);
      assert.equal(shared.usedBytes, 0);
    }),
    { numRuns: 50 },
  );
});
