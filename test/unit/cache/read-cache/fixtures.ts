/** A read cache on a simulated disk, and pages that tell which page and which version of it they are. */
import assert from 'node:assert/strict';
import { PAGE_BYTES } from '../../../../src/cache/page.ts';
import { type InsertKind, ReadCache } from '../../../../src/cache/read-cache/read-cache.ts';
import type { Disk } from '../../../../src/lib/disk.ts';
import { type Log, silentLog } from '../../../../src/lib/log.ts';
import { Random } from '../../../support/random.ts';
import { SECTOR_BYTES, sealSectors } from '../../../support/sectors.ts';
import { SimDisk, type SimDiskOptions } from '../../../support/sim-disk.ts';
import { settle, VirtualClock } from '../../../support/virtual-clock.ts';

export const DIRECTORY = '/cache/volume';
export const LINE_BYTES = 16 * PAGE_BYTES;

export async function newDisk(seed = 1, options: Partial<SimDiskOptions> = {}): Promise<SimDisk> {
  const disk = new SimDisk({ clock: new VirtualClock(), random: new Random(seed), ...options });
  disk.makeDirectory(DIRECTORY);
  await disk.syncDirectory('/');
  await disk.syncDirectory('/cache');
  return disk;
}

/** A disk whose calls take a number of turns that differs from call to call, so that they do not end in the order they began. */
export function newUnevenDisk(seed: number, turnsMax = 6): Promise<SimDisk> {
  const random = new Random(seed ^ 0x5bd1e995);
  const clock = Object.assign(new VirtualClock(), { sleep: (turns: number) => settle(turns) });
  return newDisk(seed, { clock, latencyMs: () => random.below(turnsMax) });
}

export interface OpenOptions {
  readonly lines?: number;
  readonly identity?: string;
  readonly clock?: VirtualClock;
  readonly log?: Log;
}

export function openCache(disk: Disk, options: OpenOptions = {}): Promise<ReadCache> {
  return ReadCache.open({
    disk,
    directory: DIRECTORY,
    sizeBytes: (options.lines ?? 16) * LINE_BYTES,
    identity: options.identity ?? 'volume-1',
    clock: options.clock ?? new VirtualClock(),
    log: options.log ?? silentLog,
  });
}

/** `count` pages from `first` on. */
export function pages(first: number, count: number, version = 0): Buffer {
  const data = Buffer.alloc(count * PAGE_BYTES);
  for (let index = 0; index < count; index++) {
    const page = data.subarray(index * PAGE_BYTES, (index + 1) * PAGE_BYTES);
    page.fill(((first + index) * 31 + version * 7) & 0xff);
    // Each sector tells, so that a torn page does too.
    for (let sector = 0; sector < PAGE_BYTES; sector += SECTOR_BYTES) {
      page.writeDoubleLE(first + index, sector);
      page.writeUInt32LE(version, sector + 8);
    }
  }
  return sealSectors(data);
}

export async function insert(
  cache: ReadCache,
  first: number,
  count: number,
  { version = 0, kind = 'demand' as InsertKind } = {},
): Promise<void> {
  await cache.insert(first, pages(first, count, version), kind);
}

/** The version of the page that the cache returns, or null where it has none; fails where the bytes are nobody's. */
export function versionOf(cache: ReadCache, page: number, counts = true): number | null {
  const target = Buffer.alloc(PAGE_BYTES);
  if (cache.lookup(page, page + 1) === 0) return null;
  if (cache.read(page, 1, target, 0, counts) === 0) return null;
  const version = target.readUInt32LE(8);
  assert.ok(target.equals(pages(page, 1, version)), `page ${page} has bytes that were never its own`);
  return version;
}

/** Lets what the cache does in the background come to an end. */
export function quiet(): Promise<void> {
  return settle(40);
}
