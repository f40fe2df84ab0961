/** How measurements are taken in turns, and what becomes of them. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Comparison, compare, type Metric, type Subject } from '../../bench/comparison.ts';
import { summarize, summarizeRatio } from '../../bench/statistics.ts';

const metric: Metric = { key: 'rate', label: 'reads', unit: 'op/s', better: 'more' };
const quiet = { rounds: 3, seconds: 1, progress: () => {} };

/** Gives the values one after the other, and notes each run. */
function subject(name: string, values: readonly number[], log: string[] = []): Subject {
  let run = 0;
  return {
    name,
    measure: async (seconds) => {
      log.push(`${name} ${seconds}`);
      return { values: { rate: values[run++] ?? Number.NaN }, cpuUsPerOp: run };
    },
  };
}

function comparison(subjects: readonly Subject[], changes: Partial<Metric> = {}): Comparison {
  return { metrics: [{ ...metric, ...changes }], subjects, warmupSeconds: 0 };
}

test('the median is that of the sorted samples, of two in the middle their mean', () => {
  assert.deepEqual(summarize([30, 1, 2]), { median: 2, min: 1, max: 30, samples: [30, 1, 2] });
  assert.equal(summarize([4, 1, 2, 30]).median, 3);
  assert.throws(() => summarize([]), RangeError);
});

test('a ratio is taken round by round', () => {
  // The machine was ten times slower in the second round, for both.
  assert.deepEqual(summarizeRatio([200, 20, 210], [100, 10, 100]).samples, [2, 2, 2.1]);
  assert.throws(() => summarizeRatio([1, 2], [1]), RangeError);
});

test('subjects take turns, and turns at going first, after a warm-up that does not count', async () => {
  const log: string[] = [];
  const subjects = [subject('a', [9, 1, 2, 3], log), subject('b', [9, 4, 5, 6], log)];
  const [result] = await compare({ ...comparison(subjects), warmupSeconds: 0.5 }, quiet);
  assert.deepEqual(log, ['a 0.5', 'b 0.5', 'a 1', 'b 1', 'b 1', 'a 1', 'a 1', 'b 1']);
  assert.deepEqual(result?.subjects[0]?.value.samples, [1, 2, 3]);
  assert.deepEqual(result?.subjects[1]?.value.samples, [4, 5, 6]);
  assert.deepEqual(result?.subjects[0]?.cpuUsPerOp?.samples, [2, 3, 4]);
  assert.deepEqual(result?.ratios[0]?.ratio.samples, [0.25, 0.4, 0.5]);
  assert.equal(result?.met, null);
});

test('what is wanted is judged by the median ratio, in the direction that is better', async () => {
  const judge = async (ours: readonly number[], changes: Partial<Metric>): Promise<boolean | null | undefined> => {
    const subjects = [subject('a', ours), subject('b', [10, 10, 10])];
    return (await compare(comparison(subjects, changes), quiet))[0]?.met;
  };
  const wanted = [{ against: 'b', ratio: 1.5 }];
  assert.equal(await judge([15, 1, 16], { wanted }), true);
  assert.equal(await judge([14, 14, 90], { wanted }), false);
  assert.equal(await judge([15, 1, 16], { wanted, better: 'less' }), true);
  assert.equal(await judge([16, 1, 16], { wanted, better: 'less' }), false);
  assert.equal(await judge([3, 3, 3], { limit: 3, better: 'less' }), true);
  assert.equal(await judge([4, 4, 3], { limit: 3, better: 'less' }), false);
  assert.equal(await judge([99, 99, 99], { wanted, limit: 100 }), false);
});

test('a value that was not measured is an error, and no number', async () => {
  await assert.rejects(compare(comparison([subject('a', [1, 2])]), quiet), /nothing was measured for reads/);
});
