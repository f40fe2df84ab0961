/**
 * Several appliances on one volume, in seeded worlds of delays, losses, pauses, crashes, suspended machines, wrong clocks
 * and take-overs.
 *
 * What is promised: at no moment may two appliances write. A PUT that an appliance sends, it sends while it may; so one
 * that takes effect after a newer holder has begun was sent at least a tenth of a lease's life before that holder could
 * begin (it waits a whole life, or nine tenths after a take-over, and a holder may write for eight tenths). Where the
 * network delivers or drops a request within that tenth, no PUT of an older holder ever follows one of a newer holder.
 * What a network keeps for longer nobody can call back: S3 knows no fencing token for it.
 */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { isStorageError } from '../../../src/lib/errors.ts';
import { MemoryObjectStore } from '../../../src/object/memory.ts';
import { VirtualTime } from '../../support/virtual-clock.ts';
import { DATA_KEY, SimulatedAppliance, type World } from './appliance.ts';
import type { Arrival, Weather } from './network.ts';
import { Random } from './random.ts';

const LIFE_MS = 10_000;
const MARGIN_MS = LIFE_MS / 10;
const WORLD_MS = 60 * LIFE_MS;
const SEEDS = 8;

const TROUBLES = ['pauses', 'suspensions', 'partitions'] as const;
type Trouble = (typeof TROUBLES)[number];

const FAIR: Weather = {
  delayMaxMs: MARGIN_MS * 0.9,
  strayChance: () => 0,
  strayMaxMs: 0,
  requestLossChance: 0.05,
  answerLossChance: 0.05,
  timeoutMs: LIFE_MS / 5,
};
const FOUL: Weather = { ...FAIR, strayChance: (key) => (key === DATA_KEY ? 0.3 : 0.02), strayMaxMs: 3 * LIFE_MS };

interface History {
  /** When each holding began to be permitted, in order. */
  readonly begunMs: number[];
  readonly arrivals: (Arrival & { readonly holding: number })[];
  readonly conflicts: string[];
}

async function simulate(seed: number, weather: Weather, trouble: Trouble): Promise<History> {
  const history: History = { begunMs: [], arrivals: [], conflicts: [] };
  const random = new Random(seed);
  const time = new VirtualTime();
  const world: World = {
    time,
    random,
    bucket: new MemoryObjectStore(),
    weather,
    lifeMs: LIFE_MS,
    onData: (arrival) => history.arrivals.push({ ...arrival, holding: JSON.parse(String(arrival.body)).holding }),
  };
  const living: SimulatedAppliance[] = [];
  const everybody: SimulatedAppliance[] = [];
  const failures: unknown[] = [];

  const start = (name: string): void => {
    const appliance = new SimulatedAppliance(world, name);
    living.push(appliance);
    everybody.push(appliance);
    live(appliance).catch((error: unknown) => failures.push(error));
  };
  const live = async (appliance: SimulatedAppliance): Promise<void> => {
    while (time.nowMs < WORLD_MS) {
      try {
        await appliance.acquire(random.chance(0.2));
      } catch (error) {
        if (!isStorageError(error)) throw error;
        await appliance.clock.sleep(random.next() * LIFE_MS);
        continue;
      }
      const holding = history.begunMs.push(time.nowMs) - 1;
      const writers = Array.from({ length: 3 }, () => appliance.write(holding, random.int(5, 60)));
      const kept = (await Promise.all(writers)).every((ended) => ended);
      if (kept || random.chance(0.5)) await appliance.release();
    }
    await appliance.release();
  };
  const disturb = async (): Promise<void> => {
    // Mostly the one that holds the volume: trouble with the others matters less.
    const holder = living.find(({ permitted }) => permitted);
    const appliance = random.chance(0.7) && holder ? holder : living[random.int(0, living.length - 1)];
    if (appliance === undefined) return;
    const { clock } = appliance;
    if (random.chance(0.1)) {
      // It dies, and somebody else starts somewhere else.
      clock.stop();
      living.splice(living.indexOf(appliance), 1);
      start(`appliance ${everybody.length}`);
    } else if (trouble === 'partitions') {
      appliance.cutOff(random.next() * 2 * LIFE_MS);
    } else if (trouble === 'suspensions') {
      clock.suspend();
      time.setAlarm(random.next() * 2 * LIFE_MS, () => void clock.resume());
    } else if (random.chance(0.3)) {
      clock.shiftWallClock((random.next() - 0.5) * 10 * LIFE_MS);
    } else {
      clock.stop();
      time.setAlarm(random.next() * 2 * LIFE_MS, () => void clock.continue());
    }
  };

  for (let at = 0; at < 3; at++) start(`appliance ${at}`);
  while (time.nowMs < WORLD_MS) {
    await time.advance(LIFE_MS / 40);
    const permitted = everybody.filter((appliance) => appliance.permitted);
    if (permitted.length > 1) {
      history.conflicts.push(`${permitted.map(({ instance }) => instance).join(' and ')} at ${time.nowMs} ms`);
    }
    if (random.chance(0.015)) await disturb();
  }
  assert.deepEqual(failures, []);
  return history;
}

/** The PUTs that took effect after one of a newer holding, each with when the first newer holding began. */
function latecomers({ arrivals, begunMs }: History): { arrival: Arrival; newerBegunMs: number }[] {
  const late: { arrival: Arrival; newerBegunMs: number }[] = [];
  const newest = { holding: -1 };
  for (const arrival of arrivals) {
    if (arrival.holding < newest.holding) late.push({ arrival, newerBegunMs: begunMs[arrival.holding + 1] ?? 0 });
    newest.holding = Math.max(newest.holding, arrival.holding);
  }
  return late;
}

describe('a seeded world', () => {
  for (const trouble of TROUBLES) {
    test(`of ${trouble}, where requests arrive in time or never: no older holder's PUT follows a newer one's`, async () => {
      let holdings = 0;
      for (let seed = 1; seed <= SEEDS; seed++) {
        const history = await simulate(seed, FAIR, trouble);
        assert.deepEqual(history.conflicts, [], `seed ${seed}: two may write`);
        assert.deepEqual(latecomers(history), [], `seed ${seed}`);
        holdings += history.begunMs.length;
        assert.ok(history.arrivals.length > 20, `seed ${seed}: only ${history.arrivals.length} writes`);
      }
      assert.ok(holdings > SEEDS * 3, `only ${holdings} holdings`);
    });

    test(`of ${trouble}, where requests stray: whatever comes late was sent well before the newer holder began`, async () => {
      let late = 0;
      for (let seed = 101; seed <= 100 + SEEDS; seed++) {
        const history = await simulate(seed, FOUL, trouble);
        assert.deepEqual(history.conflicts, [], `seed ${seed}: two may write`);
        for (const { arrival, newerBegunMs } of latecomers(history)) {
          late += 1;
          assert.ok(
            arrival.sentMs <= newerBegunMs - MARGIN_MS,
            `seed ${seed}: sent at ${arrival.sentMs}, the newer holder began at ${newerBegunMs}`,
          );
        }
      }
      assert.ok(late > 0, 'nothing strayed: the test shows nothing');
    });
  }
});

describe('many at once', () => {
  const calm: Weather = { ...FAIR, requestLossChance: 0, answerLossChance: 0 };
  for (const count of [2, 16]) {
    for (const before of ['nobody', 'one that released it', 'one that died'] as const) {
      test(`of ${count} after ${before} one gets the volume`, async () => {
        for (let seed = 1; seed <= 8; seed++) {
          const time = new VirtualTime();
          const random = new Random(seed);
          const weather = { ...calm, answerLossChance: seed % 2 === 0 ? 0.2 : 0 };
          const world: World = {
            time,
            random,
            bucket: new MemoryObjectStore(),
            weather,
            lifeMs: LIFE_MS,
            onData: () => {},
          };
          if (before !== 'nobody') {
            const earlier = new SimulatedAppliance({ ...world, weather: calm }, 'earlier');
            await time.run(earlier.acquire(false));
            if (before === 'one that died') earlier.clock.stop();
            else await time.run(earlier.release());
          }
          const all = Array.from({ length: count }, (_, at) => new SimulatedAppliance(world, `appliance ${at}`));
          const outcomes = await time.run(
            Promise.all(
              all.map((appliance) =>
                appliance.acquire(false).then(
                  () => 'acquired',
                  (error) => error.code,
                ),
              ),
            ),
          );
          const acquired = outcomes.filter((outcome) => outcome === 'acquired').length;
          assert.ok(all.filter(({ permitted }) => permitted).length <= 1);
          if (weather.answerLossChance > 0) {
            // Whoever heard nothing for too long has given up: then it may be nobody.
            assert.ok(acquired <= 1, `seed ${seed}: ${outcomes}`);
          } else {
            assert.equal(acquired, 1, `seed ${seed}: ${outcomes}`);
            assert.equal(
              outcomes.filter((outcome) => outcome === 'HELD').length,
              count - 1,
              `seed ${seed}: ${outcomes}`,
            );
          }
          await time.run(Promise.all(all.map((appliance) => appliance.release())));
        }
      });
    }
  }
});
