/** The words of the command, what a scenario leaves behind, and how results are shown. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseOptions } from '../../bench/options.ts';
import { amount, scenarioText } from '../../bench/report.ts';
import { type RunScenarioOptions, runScenario } from '../../bench/run-scenario.ts';
import type { Scenario } from '../../bench/scenario.ts';
import { SCENARIOS, selectScenarios } from '../../bench/scenarios.ts';
import { onEnd } from '../../support/cleanup.ts';

const options: RunScenarioOptions = {
  rounds: 2,
  seconds: 1,
  env: {},
  say: () => {},
  lacking: () => null,
  stopping: new AbortController().signal,
};

function scenario(run: Scenario['run'], changes: Partial<Scenario> = {}): Scenario {
  return { name: 'trial', about: '', tools: [], facilities: [], run, ...changes };
}

test('words choose scenarios by the beginning of their names', () => {
  const all = ['cache-write', 'cache-read', 'nbd'].map((name) => scenario(async () => {}, { name }));
  const names = (words: readonly string[]): string[] => selectScenarios(words, all).map(({ name }) => name);
  assert.deepEqual(names([]), ['cache-write', 'cache-read', 'nbd']);
  assert.deepEqual(names(['nbd', 'cache']), ['cache-write', 'cache-read', 'nbd']);
  assert.deepEqual(names(['cache-r']), ['cache-read']);
  assert.throws(() => names(['fuse']), /there is no scenario fuse: cache-write, cache-read, nbd/);
});

test('the names of the scenarios are their own', () => {
  assert.equal(new Set(SCENARIOS.map(({ name }) => name)).size, SCENARIOS.length);
});

test('options are read, and wrong ones refused', () => {
  const given = parseOptions(['--rounds', '3', '--seconds', '0.5', '--json', 'out.json', 'nbd']);
  assert.deepEqual(given.scenarios, ['nbd']);
  assert.equal(given.rounds, 3);
  assert.equal(given.seconds, 0.5);
  assert.equal(given.jsonFile, 'out.json');
  assert.throws(() => parseOptions(['--rounds', '0']), /above 0/);
  assert.throws(() => parseOptions(['--rounds', '1.5']), /whole number/);
  assert.throws(() => parseOptions(['--seconds', 'long']), /above 0, not long/);
  assert.throws(() => parseOptions(['--unheard']), /unheard/);
});

test('a scenario that fails keeps what it has measured, and what it put in place is taken down', async () => {
  const order: string[] = [];
  const result = await runScenario(
    scenario(async (bench) => {
      onEnd(bench.lifetime, () => void order.push('server'));
      onEnd(bench.lifetime, () => void order.push('mount'));
      await bench.compare({
        metrics: [{ key: 'rate', label: 'reads', unit: 'op/s', better: 'more' }],
        subjects: [{ name: 'ours', measure: async () => ({ values: { rate: 7 } }) }],
        warmupSeconds: 0,
      });
      throw new Error('the server has gone');
    }),
    options,
  );
  assert.deepEqual(order, ['mount', 'server']);
  assert.equal(result.failed, 'Error: the server has gone');
  assert.equal(result.results[0]?.subjects[0]?.value.median, 7);
});

test('what cannot be taken down is told, beside what was measured', async () => {
  const result = await runScenario(
    scenario(async (bench) => void onEnd(bench.lifetime, () => Promise.reject(new Error('busy')))),
    options,
  );
  assert.match(result.failed ?? '', /busy/);
});

test('a scenario that lacks something is skipped with the reason; a part that does is left out', async () => {
  const lacking: RunScenarioOptions['lacking'] = (tools, facilities) =>
    tools.includes('fio') || facilities.includes('root') ? 'needs more' : null;
  const never = scenario(() => Promise.reject(new Error('must not run')), { tools: ['fio'] });
  const skipped = await runScenario(never, { ...options, lacking });
  assert.deepEqual([skipped.skipped, skipped.failed], ['needs more', null]);
  assert.match(scenarioText(skipped), /^== trial\nskipped: needs more$/);
  const parts: boolean[] = [];
  const partly = await runScenario(
    scenario(async (bench) => void parts.push(bench.has('one', ['nbdkit']), bench.has('the other', [], ['root']))),
    { ...options, lacking },
  );
  assert.deepEqual(parts, [true, false]);
  assert.deepEqual(partly.notes, ['the other is left out: needs more']);
});

test('the table tells medians, ranges, ratios and whether what is wanted was seen', async () => {
  const rates = { ours: [100, 120], theirs: [50, 60] };
  const subject = (name: 'ours' | 'theirs') => {
    let run = 0;
    return { name, measure: async () => ({ values: { rate: rates[name][run++] ?? 0 }, cpuUsPerOp: 12.3456 }) };
  };
  const result = await runScenario(
    scenario(async (bench) => {
      bench.note('a word on it');
      const wanted = [{ against: 'theirs', ratio: 2.5 }];
      await bench.compare({
        metrics: [{ key: 'rate', label: 'reads', unit: 'op/s', better: 'more', wanted }],
        subjects: [subject('ours'), subject('theirs')],
        warmupSeconds: 0,
      });
    }),
    options,
  );
  const lines = scenarioText(result).split('\n');
  assert.deepEqual(
    lines.slice(2).map((line) => line.trim().replaceAll(/ {2,}/g, '|')),
    ['reads|ours|110 op/s|100..120|12.3 us|NOT MET', 'theirs|55 op/s|50..60|12.3 us|2.00|>= 2.5', 'note: a word on it'],
  );
});

test('amounts have three digits that mean something', () => {
  assert.deepEqual([0.01234, 1.5, 99.96, 1234, 12_345, 12_345_678].map(amount), [
    '0.0123',
    '1.5',
    '100',
    '1234',
    '12.3k',
    '12.3M',
  ]);
});
