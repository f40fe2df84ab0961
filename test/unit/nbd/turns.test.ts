/** Turns: a few at a time, with a look at all sockets in between; volumes and connections alike, by what they have spent. */
import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { REQUEST_COST, TURN_COST, Turn, Turns } from '../../../src/nbd/turns.ts';

const look = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

/** One that always wants more, and spends as much each time. */
function pump(t: TestContext, turns: Turns, volume: object, cost: number): { readonly turns: number } {
  const turn = new Turn();
  let stopped = false;
  t.after(() => {
    stopped = true;
  });
  const count = { turns: 0 };
  const work = (): void => {
    while (!turn.isOver) {
      count.turns++;
      turn.spend(cost);
    }
    if (!stopped) turns.wait(volume, turn, work);
  };
  work();
  return count;
}

test('a turn is over after 32 small reads, or one large one', () => {
  const turn = new Turn();
  let reads = 0;
  for (; !turn.isOver; reads++) turn.spend(REQUEST_COST + 4096);
  assert.equal(reads, 32);
  turn.next();
  assert.equal(turn.isOver, false);
  turn.spend(TURN_COST);
  assert.equal(turn.isOver, true);
});

test('come in the order they were asked for, two between one look at the sockets and the next', async () => {
  const turns = new Turns();
  const done: number[] = [];
  for (let i = 0; i < 5; i++) turns.wait(undefined, new Turn(), () => done.push(i));
  assert.deepEqual(done, [], 'not at once');
  await look();
  assert.deepEqual(done, [0, 1]);
  await look();
  assert.deepEqual(done, [0, 1, 2, 3]);
  await look();
  assert.deepEqual(done, [0, 1, 2, 3, 4]);
});

test('that ask for another one come after those that wait', async () => {
  const turns = new Turns();
  const done: string[] = [];
  let again = 3;
  const greedy = (): void => {
    done.push('greedy');
    if (again-- > 0) turns.wait(undefined, new Turn(), greedy);
  };
  turns.wait(undefined, new Turn(), greedy);
  for (const name of ['a', 'b', 'c']) turns.wait(undefined, new Turn(), () => done.push(name));
  for (let i = 0; i < 10; i++) await look();
  assert.deepEqual(done, ['greedy', 'a', 'b', 'c', 'greedy', 'greedy', 'greedy']);
});

test('are equal for volumes, however many connections each of them has', async (t) => {
  const turns = new Turns();
  const [crowded, lonely] = [{}, {}];
  const many = Array.from({ length: 10 }, () => pump(t, turns, crowded, TURN_COST));
  const one = pump(t, turns, lonely, TURN_COST);
  for (let i = 0; i < 100; i++) await look();
  const ofMany = many.reduce((sum, { turns: count }) => sum + count, 0);
  assert.ok(Math.abs(ofMany - many.length - one.turns) <= 2, `${ofMany} and ${one.turns}`);
  for (const { turns: count } of many) assert.ok(Math.abs(count - one.turns / 10) <= 3, `${count} of ${one.turns}`);
});

test('are taken from who spent several at once, so that large requests get no more than small ones', async (t) => {
  const turns = new Turns();
  const volume = {};
  const [large, small] = [pump(t, turns, volume, 10 * TURN_COST), pump(t, turns, volume, TURN_COST / 32)];
  for (let i = 0; i < 200; i++) await look();
  const ratio = (large.turns * 10) / (small.turns / 32);
  assert.ok(ratio > 0.9 && ratio < 1.2, `${large.turns} large ones and ${small.turns} small ones`);
});

test('of who is alone are not held back by what it spent', async (t) => {
  const turns = new Turns();
  const alone = pump(t, turns, {}, 100 * TURN_COST);
  for (let i = 0; i < 10; i++) await look();
  assert.ok(alone.turns >= 10, `${alone.turns} turns`);
});
