/**
 * No flush that was answered is lost: appliances with a cache are killed while they write, upload, move their log and their
 * index on, and start, and every sector is then held to its last flushed value or a later one. KILL_ROUNDS makes it longer,
 * KILL_SEED repeats a run: what is asked and when it is killed follow from it.
 */
import assert from 'node:assert/strict';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import type { Appliance } from '../support/appliance.ts';
import { DiskRig, type DiskVariant } from './support/disk-rig.ts';
import { killAtMoment, killWhileStarting, MOMENTS, type Moment } from './support/kill-moments.ts';

const KIB = 1024;
const MIB = 1024 * KIB;
const ROUNDS = Number(process.env.KILL_ROUNDS ?? 1);
const SEED = Number(process.env.KILL_SEED ?? Date.now() % 1_000_000);
const TIMEOUT_MS = 120_000 + ROUNDS * 20_000;
const ENCRYPTED = { compress: 'zstd', encrypt: true, password: 'correct horse' };
const STARTING_AGAIN = 0.4;
const LEASE = { lease: { duration: '3s' } };

const VARIANTS: readonly DiskVariant[] = [
  { name: 'S3, blocks of 64 KiB', on: 's3', blockBytes: 64 * KIB, diskBytes: 8 * MIB, cache: {} },
  {
    name: 'faulty S3, encrypted',
    on: 'faulty s3',
    blockBytes: 64 * KIB,
    diskBytes: 8 * MIB,
    volume: ENCRYPTED,
    cache: {},
  },
  { name: 'faulty S3, blocks of 1 MiB', on: 'faulty s3', blockBytes: MIB, diskBytes: 16 * MIB, cache: {} },
  { name: 'a directory, blocks of 4 KiB', on: 'file', blockBytes: 4 * KIB, diskBytes: 4 * MIB, cache: {} },
];

/** Another configuration for each start: none of it may cost anything that was written. */
function tune(rig: DiskRig): void {
  const { random } = rig;
  const pick = <T>(...values: readonly T[]): T => values[random.int(0, values.length - 1)] as T;
  rig.cache = { size: pick('1MiB', '4MiB', '64MiB'), logSize: pick('4MiB', '8MiB', '32MiB') };
  rig.settings = {
    ...rig.settings,
    upload: { age: pick('100ms', '1s', '30s'), dirty: pick('1MiB', '3MiB', '256MiB') },
  };
  rig.volume = { durability: pick('local', 's3'), compress: pick('deflate', 'zstd') };
}

class Tally {
  readonly moments = new Map<Moment, number>();
  answered = 0;
  starting = 0;

  text(rig: DiskRig): string {
    const kills = [...this.moments].map(([moment, count]) => `${count} ${moment}`);
    return (
      `killed ${[...kills, `${this.starting} while starting`].join(', ')}; ` +
      `${this.answered} requests answered, ${rig.model.checked} sectors compared`
    );
  }
}

/** One round: load, death, in some rounds another death while starting. */
async function round(rig: DiskRig, appliance: Appliance, number: number, tally: Tally): Promise<void> {
  await rig.startLoad(appliance);
  const moment = MOMENTS[(number + SEED) % MOMENTS.length] as Moment;
  const met = await killAtMoment(rig, appliance, moment);
  tally.moments.set(met, (tally.moments.get(met) ?? 0) + 1);
  tally.answered += rig.answered;
  assert.deepEqual(rig.errors, []);
  await rig.kill(appliance);
}

describe('killed at any moment, with a cache', () => {
  for (const [at, variant] of VARIANTS.entries()) {
    it(`loses nothing that was flushed: ${variant.name}`, { timeout: TIMEOUT_MS }, async (t) => {
      t.diagnostic(`KILL_SEED=${SEED}`);
      const rig = await DiskRig.make(t, variant, SEED * 100 + at);
      const tally = new Tally();
      tune(rig);
      let appliance = await rig.start();
      for (let number = 0; number < ROUNDS; number++) {
        await round(rig, appliance, number + at, tally);
        tune(rig);
        while (rig.random.chance(STARTING_AGAIN)) {
          await killWhileStarting(rig, appliance);
          tally.starting++;
        }
        appliance = await rig.start();
        await rig.verify(appliance);
      }
      await rig.finish(appliance);
      assert.ok(tally.answered > 0);
      t.diagnostic(tally.text(rig));
    });
  }

  it('loses nothing that was flushed to the bucket, where the cache is lost too', {
    timeout: TIMEOUT_MS,
  }, async (t) => {
    t.diagnostic(`KILL_SEED=${SEED}`);
    const volume = { durability: 's3' };
    const variant: DiskVariant = {
      name: '',
      on: 'faulty s3',
      blockBytes: 64 * KIB,
      diskBytes: 8 * MIB,
      volume,
      cache: {},
    };
    const rig = await DiskRig.make(t, variant, SEED * 100 + 20, LEASE);
    const tally = new Tally();
    let appliance = await rig.start();
    for (let number = 0; number < ROUNDS; number++) {
      await round(rig, appliance, number, tally);
      await rm(join(rig.dir, 'cache'), { recursive: true });
      // It waits until the lease of the dead one has lapsed.
      appliance = await rig.start();
      await rig.verify(appliance);
    }
    await rig.finish(appliance);
    t.diagnostic(tally.text(rig));
  });
});
