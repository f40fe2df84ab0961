/** Turns: in the order they were asked for, a few at a time, with a look at all sockets in between. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Turns } from '../../../src/nbd/turns.ts';

const check = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

test('come in the order they were asked for, two between one look at the sockets and the next', async () => {
  const turns = new Turns();
  const done: number[] = [];
  for (let i = 0; i < 5; i++) turns.wait(() => done.push(i));
  assert.deepEqual(done, [], 'not at once');
  await check();
  assert.deepEqual(done, [0, 1]);
  await check();
  assert.deepEqual(done, [0, 1, 2, 3]);
  await check();
  assert.deepEqual(done, [0, 1, 2, 3, 4]);
});

test('that ask for another one come after those that wait', async () => {
  const turns = new Turns();
  const done: string[] = [];
  let again = 3;
  const greedy = (): void => {
    done.push('greedy');
    if (again-- > 0) turns.wait(greedy);
  };
  turns.wait(greedy);
  for (const name of ['a', 'b', 'c']) turns.wait(() => done.push(name));
  for (let i = 0; i < 10; i++) await check();
  assert.deepEqual(done, ['greedy', 'a', 'b', 'c', 'greedy', 'greedy', 'greedy']);
});
