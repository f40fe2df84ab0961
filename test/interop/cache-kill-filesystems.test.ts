/**
 * Filesystems on a disk with a cache whose appliance is killed under them, again and again: what was synced is there, and
 * after the filesystem has replayed its own log its checker finds nothing. KILL_ROUNDS makes it longer, KILL_SEED repeats it.
 */
import assert from 'node:assert/strict';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import type { Appliance } from '../support/appliance.ts';
import { onEnd } from '../support/cleanup.ts';
import {
  attachLoop,
  checkFilesystem,
  type FilesystemType,
  MOUNT_FACILITIES,
  MOUNT_TOOLS,
  makeFilesystem,
  mountExport,
  mountFilesystem,
  type Placed,
} from '../support/mounts.ts';
import { runCommand } from '../support/run-command.ts';
import { requireFacilities, requireTools, type Tool } from '../support/tools.ts';
import { DiskRig, type DiskVariant, type Section } from './support/disk-rig.ts';
import { FsyncLoad } from './support/fsync-load.ts';
import { killAtMoment, killWhileStarting, MOMENTS, type Moment } from './support/kill-moments.ts';

const KIB = 1024;
const MIB = 1024 * KIB;
const ROUNDS = Number(process.env.KILL_ROUNDS ?? 1);
const THOROUGH = process.env.KILL_ROUNDS !== undefined;
const SEED = Number(process.env.KILL_SEED ?? Date.now() % 1_000_000);
const TIMEOUT_MS = 240_000 + ROUNDS * 40_000;
const DISK_BYTES = 512 * MIB;
const ENCRYPTED = { encrypt: true, password: 'correct horse' };
const CHECKERS: Readonly<Record<FilesystemType, Tool>> = { ext4: 'e2fsck', xfs: 'xfs_repair', btrfs: 'btrfs' };

/** `fuse`: our own mount. `nbdfuse`: over NBD. Both under a loop device. */
type Front = 'fuse' | 'nbdfuse';

interface Case {
  readonly type: FilesystemType;
  readonly front: Front;
  readonly blockBytes: number;
  readonly volume: Section;
  /** Left out of short runs. */
  readonly long: boolean;
}

const CASES: readonly Case[] = [
  { type: 'ext4', front: 'fuse', blockBytes: 64 * KIB, volume: {}, long: false },
  { type: 'xfs', front: 'nbdfuse', blockBytes: MIB, volume: ENCRYPTED, long: false },
  { type: 'ext4', front: 'nbdfuse', blockBytes: MIB, volume: ENCRYPTED, long: true },
  { type: 'xfs', front: 'fuse', blockBytes: 64 * KIB, volume: {}, long: true },
];

/** Of each start: the same disk whatever it says. */
function tune(rig: DiskRig, { front }: Case): void {
  const { random } = rig;
  const pick = <T>(...values: readonly T[]): T => values[random.int(0, values.length - 1)] as T;
  rig.cache = { size: pick('4MiB', '256MiB'), logSize: pick('8MiB', '64MiB') };
  rig.settings = {
    upload: { age: pick('200ms', '2s', '30s'), dirty: pick('2MiB', '256MiB') },
    shutdown: { drain: '2m' },
    ...(front === 'fuse' ? { fuse: { dir: join(rig.dir, 'disks') } } : {}),
  };
  rig.volume = { durability: pick('local', 's3'), compress: pick('deflate', 'zstd') };
}

interface Attached {
  readonly device: string;
  detach(): Promise<void>;
}

/** The disk as a block device. */
async function attach(t: TestContext, appliance: Appliance, front: Front): Promise<Attached> {
  const file: Placed | null = front === 'fuse' ? null : await mountExport(t, appliance.uris('disk').unix);
  const path = file?.path ?? join(appliance.dir, 'disks', 'disk');
  const loop = await attachLoop(t, path, { directIo: true });
  return {
    device: loop.path,
    detach: async () => {
      await loop.undo();
      await file?.undo();
    },
  };
}

describe('killed under a filesystem, with a cache', () => {
  for (const [at, one] of CASES.entries()) {
    const { type, front, blockBytes, volume } = one;
    const name = `${type} by ${front}, blocks of ${blockBytes / KIB} KiB${volume === ENCRYPTED ? ', encrypted' : ''}`;
    const skip = one.long && !THOROUGH ? 'only where KILL_ROUNDS is set' : false;
    it(`loses nothing that was synced: ${name}`, { timeout: TIMEOUT_MS, skip }, async (t) => {
      const tools: Tool[] = [...MOUNT_TOOLS, 'fio', `mkfs.${type}`, CHECKERS[type]];
      if (!requireTools(t, tools) || !requireFacilities(t, [...MOUNT_FACILITIES, type])) return;
      t.diagnostic(`KILL_SEED=${SEED}`);
      const variant: DiskVariant = { name, on: 's3', blockBytes, diskBytes: DISK_BYTES, volume, cache: {} };
      const rig = await DiskRig.make(t, variant, SEED * 100 + 50 + at);
      if (front === 'fuse') {
        const dir = join(rig.dir, 'disks');
        await mkdir(dir);
        onEnd(t, async () => void (await runCommand('umount', ['-l', dir], { okCodes: null })));
      }
      const load = await FsyncLoad.make(t);
      const moments = new Map<Moment, number>();
      tune(rig, one);
      let appliance = await rig.start();
      const first = await attach(t, appliance, front);
      await makeFilesystem(type, first.device);
      await first.detach();
      for (let round = 0; round < ROUNDS; round++) {
        const disk = await attach(t, appliance, front);
        const mounted = await mountFilesystem(t, type, disk.device);
        await load.start(mounted.path, SEED + round);
        await load.untilSynced(rig.random.int(1, 10));
        const moment = await killAtMoment(rig, appliance, MOMENTS[(round + SEED) % MOMENTS.length] as Moment);
        moments.set(moment, (moments.get(moment) ?? 0) + 1);
        await appliance.kill();
        await load.ended();
        // The mount can always be taken away, though not everything could be written any more.
        await mounted.undo().catch(() => {});
        await disk.detach();

        tune(rig, one);
        while (rig.random.chance(0.3)) await killWhileStarting(rig, appliance);
        appliance = await rig.start();
        const recovered = await attach(t, appliance, front);
        const remounted = await mountFilesystem(t, type, recovered.device);
        await load.verify(remounted.path);
        await remounted.undo();
        await checkFilesystem(type, recovered.device);
        await recovered.detach();
      }
      const { code, stderr } = await appliance.stop('SIGTERM', TIMEOUT_MS);
      assert.equal(code, 0, stderr.slice(-2000));
      await inTheBucket(t, rig, one, load);
      const kills = [...moments].map(([moment, count]) => `${count} ${moment}`).join(', ');
      const { synced, verified } = load.counts;
      t.diagnostic(`killed ${kills}; ${synced} synced files and ${verified} blocks of fio read back`);
    });
  }
});

/** Whoever has no cache finds the same filesystem. */
async function inTheBucket(t: TestContext, rig: DiskRig, { type }: Case, load: FsyncLoad): Promise<void> {
  rig.settings = {};
  const other = await rig.startOther();
  const disk = await attach(t, other, 'nbdfuse');
  await checkFilesystem(type, disk.device);
  const mounted = await mountFilesystem(t, type, disk.device);
  await load.verify(mounted.path);
  await mounted.undo();
  await disk.detach();
  assert.equal((await other.stop()).code, 0);
}
