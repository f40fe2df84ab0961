/** The volume behind its cache in the crash simulation: as many seeds as a normal run has time for. */
import assert from 'node:assert/strict';
import { availableParallelism } from 'node:os';
import { test } from 'node:test';
import { runOnProcesses } from '../../sim/run-seeds.ts';
import { simulate } from '../../sim/simulation.ts';
import { subjectNamed } from '../../sim/subjects.ts';

const SEEDS = 2000;
/** Each a test of its own, and so with a time limit of its own. */
const SEEDS_PER_TEST = 500;
const FAILURES_MAX = 5;

for (let from = 1; from <= SEEDS; from += SEEDS_PER_TEST) {
  const name = `seeds ${from} to ${from + SEEDS_PER_TEST - 1}: no answered flush is lost, and no wrong byte returned`;
  test(name, async (t) => {
    const range = { subject: 'cached', from, count: SEEDS_PER_TEST };
    const processes = Math.min(2, availableParallelism());
    const outcome = await runOnProcesses(range, processes, ({ failures }) => failures.length >= FAILURES_MAX);
    const { seeds, lives, requests, sectorsChecked, refused, failures } = outcome;
    t.diagnostic(`${seeds} seeds, ${lives} lives, ${requests} writes, ${sectorsChecked} sectors compared`);
    assert.deepEqual(
      failures.map(({ message }) => message),
      [],
      'npm run sim -- --seed S --trace shows what happens in seed S',
    );
    assert.equal(seeds, SEEDS_PER_TEST);
    assert.ok(lives > 2 * seeds && requests > 5 * seeds, 'the seeds do something');
    assert.ok(refused < seeds / 20, `${refused} runs ended with a disk that was too damaged to open`);
  });
}

test('the engine has no time, timers or chance of its own: a seed does the same again', async () => {
  for (let seed = 1; seed <= 15; seed++) {
    const first = await simulate(subjectNamed('cached'), seed);
    const second = await simulate(subjectNamed('cached'), seed);
    assert.deepEqual(second, first, `seed ${seed}`);
  }
});
