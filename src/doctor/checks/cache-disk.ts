/** Checks of the disk below `cache.dir`: what kind it is, whether its syncs are believable, and whether there is room. */
import { dirname } from 'node:path';
import type { MountEntry } from '../../lib/mount-table.ts';
import { approximateSize } from '../../lib/units.ts';
import { cachedVolumes, type Facts } from '../facts.ts';
import { fail, ok, type Result, warn } from '../finding.ts';
import type { Machine } from '../machine.ts';
import { mountOf } from './devices.ts';

const SYNC_COUNT = 20;
/** No disk, and no controller with a battery, makes a write durable this fast; memory does. */
const SYNC_MS_BELIEVABLE = 0.015;
/** Slower than this, clients that flush often notice. */
const SYNC_MS_SLOW = 30;

const IN_MEMORY = new Set(['tmpfs', 'ramfs', 'rootfs']);
const NETWORK = new Set([
  'nfs',
  'nfs4',
  'cifs',
  'smb3',
  'ceph',
  '9p',
  'virtiofs',
  'glusterfs',
  'fuse.sshfs',
  'fuse.s3fs',
  'fuse.rclone',
]);

export async function checkCacheDisk(machine: Machine, table: readonly MountEntry[], facts: Facts): Promise<Result[]> {
  const { dir } = facts.settings.cache;
  const missing = machine.stat(dir) === null;
  const at = missing ? existing(machine, dir) : dir;
  const error = machine.stat(at)?.kind === 'directory' ? machine.openError(at) : 'ENOTDIR';
  if (error !== null) {
    const what = missing
      ? `cache.dir, ${dir}, is not there and cannot be made in ${at}`
      : `cache.dir, ${dir}, cannot be used`;
    return [fail(`${what} (${error})`, 'give it to the account that the appliance runs as, or set another cache.dir')];
  }
  const disk = mountOf(table, at);
  const type = disk?.type ?? 'unknown';
  return [
    ...typeResults(dir, type, facts),
    ...(await syncResults(machine, at, type)),
    ...spaceResults(machine, at, facts),
    ...(missing ? [ok(`${dir} is not there yet: it is made at the first start`)] : []),
  ];
}

function typeResults(dir: string, type: string, { settings }: Facts): Result[] {
  // Without a cache nothing is kept there but the lock and the control socket.
  if (cachedVolumes({ settings }).length === 0) return [ok(`${dir} is on ${type}; no volume has a cache there`)];
  if (IN_MEMORY.has(type)) {
    return [
      warn(
        `${dir} is on ${type}, in memory: writes that are not in the bucket are lost when the machine stops`,
        'set cache.dir to a directory on a disk, or set durability: "s3" or cache.size: 0',
      ),
    ];
  }
  if (type === 'overlay') {
    return [
      warn(
        `${dir} is on overlay, in a container's own layer: writes that are not in the bucket are lost with the container`,
        'mount a volume on cache.dir, in Kubernetes a PersistentVolumeClaim and not an emptyDir',
      ),
    ];
  }
  if (NETWORK.has(type)) {
    return [
      warn(
        `${dir} is on ${type}, over the network: its locks and its syncs may not be what they seem, and it is slow`,
        'set cache.dir to a directory on a local disk',
      ),
    ];
  }
  return [ok(`${dir} is on ${type}`)];
}

async function syncResults(machine: Machine, dir: string, type: string): Promise<Result[]> {
  let times: readonly number[];
  try {
    times = await machine.syncTimes(dir, SYNC_COUNT);
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    return [
      fail(
        `a small file in ${dir} could not be written and made durable (${code ?? message})`,
        code === 'ENOSPC'
          ? 'make room on the disk'
          : 'look at the disk and the kernel log (dmesg): no flush can be answered on it',
      ),
    ];
  }
  const median = [...times].sort((a, b) => a - b)[Math.floor(times.length / 2)] ?? 0;
  const took = `a write of 4 KiB with fdatasync takes ${median < 1 ? `${Math.round(median * 1000)} us` : `${Math.round(median * 10) / 10} ms`}`;
  if (median < SYNC_MS_BELIEVABLE && !IN_MEMORY.has(type)) {
    return [
      warn(
        `${took}: no disk is that fast, so that something on the way does not sync (libeatmydata, a hypervisor's cache, a mount option)`,
        'have it sync, or a power cut loses writes that were answered as durable',
      ),
    ];
  }
  if (median > SYNC_MS_SLOW) {
    return [
      warn(
        `${took}: clients wait as long for each flush`,
        'use an SSD for cache.dir; "bucketdisk bench --cache" tells more',
      ),
    ];
  }
  return [ok(took)];
}

function spaceResults(machine: Machine, dir: string, facts: Facts): Result[] {
  const space = machine.space(dir);
  if (space === null) return [warn(`the free space of ${dir} cannot be told`)];
  const { cache } = facts.settings;
  const volumes = cachedVolumes(facts);
  const free = approximateSize(space.freeBytes);
  if (volumes.length === 0) return [ok(`${free} free`)];
  const used = volumes.map((name) => usage(machine, `${cache.dir}/volumes/${name}`));
  // What is there already needs no more room: logs have theirs set aside, and the read cache grows to its size.
  const logs = used.reduce((sum, { logBytes }) => sum + Math.max(0, cache.logSizeBytes - logBytes), 0);
  const pages = Math.max(0, cache.sizeBytes - used.reduce((sum, { cacheBytes }) => sum + cacheBytes, 0));
  const remedy = 'make room, or lower cache.size or cache.logSize';
  if (space.freeBytes < logs) {
    return [
      fail(`${free} free, and the write logs need ${approximateSize(logs)} more: volumes cannot be opened`, remedy),
    ];
  }
  if (space.freeBytes < logs + pages) {
    return [
      warn(`${free} free, and cache.size and the write logs will need ${approximateSize(logs + pages)} more`, remedy),
    ];
  }
  return [ok(`${free} free, ${approximateSize(logs + pages)} will be needed`)];
}

function usage(machine: Machine, directory: string): { readonly logBytes: number; readonly cacheBytes: number } {
  const sum = (dir: string): number =>
    machine.list(dir).reduce((bytes, name) => {
      const file = machine.stat(`${dir}/${name}`);
      return bytes + (file?.kind === 'file' ? file.usedBytes : 0);
    }, 0);
  return { logBytes: sum(`${directory}/log`), cacheBytes: sum(directory) };
}

/** The nearest directory above that is there. */
function existing(machine: Machine, path: string): string {
  const parent = dirname(path);
  return parent === path || machine.stat(parent) !== null ? parent : existing(machine, parent);
}
