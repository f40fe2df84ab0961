/** The doctor's checks are run one after another, and none keeps the others from being told. */
import assert from 'node:assert/strict';
import { it } from 'node:test';
import { type Finding, ok } from '../../../src/doctor/finding.ts';
import { runChecks } from '../../../src/doctor/run-checks.ts';
import { StorageError } from '../../../src/lib/errors.ts';
import { VirtualClock } from '../../support/virtual-clock.ts';

it('tells of a check that fails or hangs, and goes on', async () => {
  const clock = new VirtualClock();
  const told: Finding[] = [];
  const running = runChecks(
    [
      { name: 'sound', run: () => [ok('well')] },
      {
        name: 'throws',
        run: () => {
          throw new StorageError('INVALID', 'broken');
        },
      },
      { name: 'hangs', run: () => new Promise(() => {}) },
      { name: 'last', run: async () => [ok('well'), ok('still')] },
    ],
    { clock, signal: new AbortController().signal, onFinding: (finding) => told.push(finding) },
  );
  await clock.run(running);
  assert.deepEqual(
    told.map(({ check, state, message }) => [check, state, message]),
    [
      ['sound', 'ok', 'well'],
      ['throws', 'fail', 'broken'],
      ['hangs', 'fail', 'no answer within 30 s'],
      ['last', 'ok', 'well'],
      ['last', 'ok', 'still'],
    ],
  );
});
