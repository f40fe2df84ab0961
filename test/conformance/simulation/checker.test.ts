/** That the crash simulation finds what it is there to find: volumes with a mistake in them fail, one without does not. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { MISTAKES } from '../../sim/reference-volume.ts';
import { runOnProcesses } from '../../sim/run-seeds.ts';
import { simulate } from '../../sim/simulation.ts';
import { subjectNamed } from '../../sim/subjects.ts';

/** A mistake is to be found within so many seeds. */
const SEEDS_MAX = 600;
const SOUND_SEEDS = 100;

describe('the crash simulation', () => {
  it('passes a volume that is right', async () => {
    const outcome = await runOnProcesses({ subject: 'reference', from: 1, count: SOUND_SEEDS }, 1);
    assert.deepEqual(outcome.failures, []);
    assert.equal(outcome.seeds, SOUND_SEEDS);
    assert.ok(outcome.lives > SOUND_SEEDS && outcome.requests > 10 * SOUND_SEEDS && outcome.sectorsChecked > 0);
  });

  for (const mistake of MISTAKES) {
    it(`finds this: ${mistake}`, async (t) => {
      const range = { subject: mistake, from: 1, count: SEEDS_MAX };
      const outcome = await runOnProcesses(range, 1, ({ failures }) => failures.length > 0);
      const [failure] = outcome.failures;
      assert.ok(failure !== undefined, `${SEEDS_MAX} seeds have passed`);
      t.diagnostic(failure.message.split('\n', 1)[0] ?? '');
    });
  }

  it('does the same again with the same seed', async () => {
    for (let seed = 1; seed <= 8; seed++) {
      const first = await simulate(subjectNamed('reference'), seed);
      const second = await simulate(subjectNamed('reference'), seed);
      assert.deepEqual(second, first, `seed ${seed}`);
    }
  });
});
