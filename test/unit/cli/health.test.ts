/** `bucketdisk health`: what it prints and ends with. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { HealthReport } from '../../../src/cli/actions.ts';
import { FakeHost, runCommand } from './fake-host.ts';

const health = (words: string, report: HealthReport) =>
  runCommand(words, new FakeHost({ actions: { health: async () => report } }));

test('ends with 0 where all is well', async () => {
  const healthy = { healthy: true, problems: [] };
  assert.deepEqual(await health('health', healthy), { exitCode: 0, stdout: 'ok\n', stderr: '' });
  const { exitCode, stdout } = await health('health --json', healthy);
  assert.deepEqual([exitCode, JSON.parse(stdout)], [0, healthy]);
});

test('ends with 1 and says why where it is not', async () => {
  const ill = { healthy: false, problems: ['volume one is opening', 'fuse.dir is not mounted'] };
  const expected = { exitCode: 1, stdout: 'volume one is opening\nfuse.dir is not mounted\n', stderr: '' };
  assert.deepEqual(await health('health', ill), expected);
  const { exitCode, stdout } = await health('health --json', ill);
  assert.deepEqual([exitCode, JSON.parse(stdout)], [1, ill]);
});
