/**
 * The disk of the cache full: at the start, because the cache is larger than it, and because others fill it while it is in use.
 * Nothing that was answered is lost, the process stays up, and goes on when there is room again. FULL_SEED repeats a run.
 */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import type { Appliance } from '../support/appliance.ts';
import { requireFacilities, requireTools } from '../support/tools.ts';
import { DiskRig, type DiskVariant } from './support/disk-rig.ts';
import { SmallFilesystem, type SmallType } from './support/small-filesystem.ts';

const KIB = 1024;
const MIB = 1024 * KIB;
const SEED = Number(process.env.FULL_SEED ?? Date.now() % 1_000_000);
const ROUNDS = Number(process.env.FULL_ROUNDS ?? 1);
const TIMEOUT_MS = 280_000 + ROUNDS * 40_000;
const DISK_MIB: Readonly<Record<SmallType, number>> = { tmpfs: 16, ext4: 24 };
/** The log fits, and of the read cache a part: it is larger than the disk. */
const VARIANT: DiskVariant = {
  name: '',
  on: 's3',
  blockBytes: 64 * KIB,
  diskBytes: 8 * MIB,
  cache: { size: '64MiB', logSize: '8MiB' },
};
const UPLOAD = { upload: { age: '300ms', dirty: '1MiB' } };

async function rigOn(
  t: TestContext,
  type: SmallType,
  seed: number,
): Promise<{ rig: DiskRig; disk: SmallFilesystem } | null> {
  const facilities = type === 'tmpfs' ? (['root'] as const) : (['root', 'loop', type] as const);
  const tools = type === 'tmpfs' ? (['mount'] as const) : (['mount', 'losetup', `mkfs.${type}`] as const);
  if (!requireTools(t, tools) || !requireFacilities(t, facilities)) return null;
  t.diagnostic(`FULL_SEED=${SEED}`);
  const rig = await DiskRig.make(t, VARIANT, SEED * 100 + seed, UPLOAD);
  return { rig, disk: await SmallFilesystem.mount(t, type, join(rig.dir, 'cache'), DISK_MIB[type]) };
}

/** Works for a while; returns the errors that clients were answered with. */
async function work(rig: DiskRig, appliance: Appliance, ms: number): Promise<readonly number[]> {
  await rig.startLoad(appliance);
  await delay(ms);
  const { errors } = rig;
  assert.ok((await rig.stopLoad()) > 0);
  return errors;
}

async function drained(rig: DiskRig, appliance: Appliance): Promise<void> {
  await appliance.flush('disk');
  assert.equal((await rig.status(appliance)).cache?.dirtyBytes, 0);
}

describe('the disk of the cache is full', () => {
  for (const type of ['tmpfs', 'ext4'] as const) {
    it(`while it works, which costs cached pages and nothing else: ${type}`, { timeout: TIMEOUT_MS }, async (t) => {
      const made = await rigOn(t, type, type.length);
      if (made === null) return;
      const { rig, disk } = made;
      let appliance = await rig.start();
      for (let round = 0; round < ROUNDS; round++) {
        assert.deepEqual(await work(rig, appliance, 800), []);
        disk.fillUp();
        // The log has its space: no request fails.
        assert.deepEqual(await work(rig, appliance, 1500), []);
        await rig.verify(appliance);
        await drained(rig, appliance);
        await work(rig, appliance, 500);
        await rig.kill(appliance);
        // What it needs to go on has its space, too.
        disk.fillUp('more');
        appliance = await rig.start();
        await rig.verify(appliance);
        assert.deepEqual(await work(rig, appliance, 500), []);
      }
      await disk.makeRoom();
      await disk.makeRoom('more');
      assert.deepEqual(await work(rig, appliance, 800), []);
      await rig.verify(appliance);
      assert.equal((await appliance.stop()).code, 0);
      const other = await rig.startOther();
      await rig.verify(other);
      assert.equal((await other.stop()).code, 0);
    });
  }

  it('at the first start: refused with what is missing, and not once there is room', {
    timeout: TIMEOUT_MS,
  }, async (t) => {
    const made = await rigOn(t, 'ext4', 6);
    if (made === null) return;
    const { rig, disk } = made;
    disk.fillUp();
    await refusedForSpace(rig);
    await disk.makeRoom();
    const appliance = await rig.start();
    assert.deepEqual(await work(rig, appliance, 500), []);
    await rig.verify(appliance);
    assert.equal((await appliance.stop()).code, 0);
  });
});

/** A start that ends with NO_SPACE. */
async function refusedForSpace(rig: DiskRig): Promise<void> {
  await assert.rejects(rig.start(), /ended before[\s\S]*(no space|disk is full)/i);
}
