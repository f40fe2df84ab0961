/** The margins between one holder's last permission and the next one's first, wherever in a renewal the change falls. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { MemoryObjectStore } from '../../../src/object/memory.ts';
import { VirtualTime } from '../../support/virtual-clock.ts';
import { SimulatedAppliance, type World } from './appliance.ts';
import type { Weather } from './network.ts';
import { Random } from './random.ts';

const LIFE_MS = 10_000;
const AT_ONCE: Weather = {
  delayMaxMs: 0,
  strayChance: () => 0,
  strayMaxMs: 0,
  requestLossChance: 0,
  answerLossChance: 0,
  timeoutMs: LIFE_MS / 10,
};

interface Change {
  /** From the old holder's last permitted moment to the new one's first. */
  readonly marginMs: number;
}

/**
 * The holder's leases stop getting through after `renewals` renewals and `offsetMs` more; somebody else comes at that very
 * moment. Two wall clocks, years apart.
 */
async function change(renewals: number, offsetMs: number, takeOver: boolean): Promise<Change> {
  const time = new VirtualTime();
  const world: World = {
    time,
    random: new Random(1),
    bucket: new MemoryObjectStore(),
    weather: AT_ONCE,
    lifeMs: LIFE_MS,
    onData: () => {},
  };
  const old = new SimulatedAppliance(world, 'old');
  const next = new SimulatedAppliance(world, 'next');
  await time.run(old.acquire(false));
  await time.advance(renewals * Math.trunc(LIFE_MS / 3) + offsetMs);
  old.cutOff(100 * LIFE_MS);
  let begun = false;
  const acquiring = next.acquire(takeOver).then(() => {
    begun = true;
  });
  let lastPermittedMs = time.nowMs;
  while (!begun) {
    if (old.permitted) lastPermittedMs = time.nowMs;
    assert.ok(time.nowMs < 10 * LIFE_MS, 'it never got the volume');
    await time.advance(25);
  }
  await acquiring;
  const margin = { marginMs: time.nowMs - lastPermittedMs };
  assert.equal(old.permitted, false);
  assert.equal(next.permitted, true);
  old.clock.stop();
  await time.run(next.release());
  return margin;
}

describe('between the last write that may be and the first that is', () => {
  for (const [how, takeOver, leastMs] of [
    ['of a dead holder, a fifth of a life passes', false, LIFE_MS / 5],
    ['of a holder whose lease is taken over, a tenth passes', true, LIFE_MS / 10],
  ] as const) {
    test(how, async () => {
      for (const renewals of [0, 1, 3]) {
        for (const offsetMs of [0, 1, 10, 1000, 3000, 3332]) {
          const { marginMs } = await change(renewals, offsetMs, takeOver);
          // 25 ms is how closely this test looks.
          assert.ok(marginMs >= leastMs - 25, `${renewals} renewals and ${offsetMs} ms: only ${marginMs} ms`);
        }
      }
    });
  }
});
