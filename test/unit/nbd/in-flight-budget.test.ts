/** The in-flight budget: never over its limits but for one alone, room for whoever comes, nothing lost. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { InFlightBudget, SharedBudget } from '../../../src/nbd/in-flight-budget.ts';

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

const VOLUME = {};

/** That of a connection to a volume, the same one unless another is named. */
function join(
  shared: SharedBudget,
  limitBytes: number,
  onGranted: () => void = () => {},
  volume = VOLUME,
): InFlightBudget {
  const budget = new InFlightBudget(shared, limitBytes, onGranted);
  budget.join(volume);
  return budget;
}

test('takes up to the limits, and one alone of any size', () => {
  const shared = new SharedBudget(100);
  const budget = join(shared, 60);
  assert.equal(budget.take(1000), true);
  assert.equal(shared.usedBytes, 1000);
  budget.give(1000);
  assert.equal(budget.take(60), true);
  assert.equal(budget.take(1), false);
  assert.equal(join(shared, 60).take(40), true);
});

test('who waits is granted in a later turn, in the order they came, and nobody overtakes', async () => {
  const shared = new SharedBudget(100);
  const granted: string[] = [];
  const budgetOf = (name: string) => join(shared, 1000, () => granted.push(name));
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
  const budgetOf = (name: string) => join(shared, 1000, () => granted.push(name));
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

/** A bound so large that each connection has 256 KiB of its own. */
const KIB = 1024;
const MIB = 1024 * KIB;
const LARGE = 64 * MIB;

test('what is a connection of its own never waits, however little room there is', () => {
  const shared = new SharedBudget(LARGE);
  const budgetOf = () => join(shared, LARGE, () => assert.fail('nobody waits'));
  const greedy = budgetOf();
  assert.equal(greedy.take(LARGE + 256 * KIB), true);
  const modest = budgetOf();
  for (let i = 0; i < 4; i++) assert.equal(modest.take(64 * KIB), true);
  const other = budgetOf();
  assert.equal(other.take(256 * KIB), true);
  const late = join(shared, LARGE);
  assert.equal(late.take(256 * KIB + 1), false, 'one byte more has to wait');
});

test('nor does it once it has become its own while it waited in line', async () => {
  const shared = new SharedBudget(LARGE);
  const granted: string[] = [];
  const greedy = join(shared, LARGE);
  assert.equal(greedy.take(LARGE + 256 * KIB), true);
  const first = join(shared, LARGE, () => granted.push('first'));
  assert.equal(first.take(MIB), false);
  const modest = join(shared, LARGE, () => granted.push('modest'));
  assert.equal(modest.take(200 * KIB), true);
  assert.equal(modest.take(100 * KIB), false);
  modest.give(200 * KIB);
  await turn();
  assert.deepEqual(granted, ['modest']);
  greedy.give(LARGE + 256 * KIB);
  await turn();
  assert.deepEqual(granted, ['modest', 'first']);
});

test('a connection has no more than it leaves to others', () => {
  for (const count of [1, 2, 4, 8]) {
    const shared = new SharedBudget(LARGE);
    const budgets = Array.from({ length: count }, () => join(shared, LARGE));
    const wanting = new Set(budgets);
    while (wanting.size > 0) {
      for (const budget of wanting) if (!budget.take(MIB)) wanting.delete(budget);
    }
    const part = LARGE / (count + 1);
    for (const budget of budgets) {
      assert.ok(budget.usedBytes <= part + MIB, `${budget.usedBytes} bytes of ${count}`);
      assert.ok(budget.usedBytes >= part - 2 * MIB, `${budget.usedBytes} bytes of ${count}`);
    }
    const newcomer = join(shared, LARGE);
    assert.equal(newcomer.take(part - 2 * MIB), true, 'whoever comes finds as much room');
  }
});

test('volumes have equal parts, and one that is stuck takes nothing from another', async () => {
  const shared = new SharedBudget(LARGE);
  const granted: string[] = [];
  const of = (volume: object, name: string): InFlightBudget => {
    return join(shared, LARGE, () => granted.push(name), volume);
  };
  const [stuck, fine] = [{}, {}];
  const holders = [of(stuck, 'a'), of(stuck, 'b'), of(stuck, 'c')];
  const free = of(fine, 'd');
  for (const holder of holders) assert.equal(holder.take(10 * MIB), true);
  const waiting = of(stuck, 'waiting');
  assert.equal(waiting.take(30 * MIB), false);
  assert.equal(free.take(30 * MIB), true, 'half of it is for the other volume');
  free.give(30 * MIB);
  assert.equal(free.take(60 * MIB), true, 'one that is larger than a part goes alone');
  free.give(60 * MIB);
  assert.equal(free.take(MIB), true);
  free.close();
  await turn();
  assert.deepEqual(granted, [], 'what a client that has gone still holds is of its volume');
  free.give(MIB);
  await turn();
  assert.deepEqual(granted, ['waiting'], 'with the other volume gone there is room');
  assert.equal(shared.usedBytes, 60 * MIB);
});

test('a large first request is not passed by small ones that are not their own, and goes at last', async () => {
  const shared = new SharedBudget(LARGE);
  const granted: string[] = [];
  const of = (name: string) => join(shared, LARGE, () => granted.push(name));
  const [busy, large, small] = [of('busy'), of('large'), of('small')];
  for (let i = 0; i < 20; i++) assert.equal(busy.take(MIB), true);
  assert.equal(large.take(60 * MIB), false);
  assert.equal(busy.take(MIB), false, 'who has something under way waits for that');
  assert.equal(small.take(MIB), false, 'a newcomer waits for its turn');
  for (let i = 0; i < 20; i++) busy.give(MIB);
  await turn();
  assert.deepEqual(granted, ['large', 'small', 'busy']);
});

test('requests with the device leave places to others too', () => {
  const shared = new SharedBudget(LARGE, 256);
  const [greedy, modest] = [0, 1].map(() => join(shared, LARGE));
  assert.ok(greedy !== undefined && modest !== undefined);
  let count = 0;
  for (; greedy.hasSlot; count++) greedy.began();
  assert.equal(count, 128);
  count = 0;
  for (; modest.hasSlot; count++) modest.began();
  assert.equal(count, 64);
  const crowd = Array.from({ length: 50 }, () => join(shared, LARGE));
  for (const budget of crowd) while (budget.hasSlot) budget.began();
  const last = join(shared, LARGE);
  for (count = 0; last.hasSlot; count++) last.began();
  assert.equal(count, 16, 'a few are there for everybody');
  last.ended();
  assert.equal(last.hasSlot, true);
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
        const budget = join(shared, 70, () => wake());
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
