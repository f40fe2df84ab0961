/** What a run is made of; all of it follows from the seed. */
import type { Random } from '../support/random.ts';
import type { Durability } from './subject.ts';

const KIB = 1024;

export type Ending =
  /** The machine loses its power, or the process dies, at any moment. */
  | 'crash'
  | 'kill'
  /** The same with nothing under way. */
  | 'quiet crash'
  | 'quiet kill'
  | 'close'
  /** Closing is given up while there is still something to upload. */
  | 'give up closing'
  /** Closed, and then the cache directory is gone. */
  | 'lose cache'
  /** The power is lost, and with it the cache directory. */
  | 'crash and lose cache';

export interface LifePlan {
  readonly ending: Ending;
  /** Where it ends by a crash at any moment: after so much time, or after so many calls to the disk and the store. */
  readonly endAfterMs: number;
  readonly endAfterCalls: number;
  readonly operations: number;
  readonly logSizeBytes: number;
  readonly cacheSizeBytes: number;
  readonly durability: Durability;
  readonly uploadAgeMs: number;
  readonly dirtyBytesMax: number;
}

/** How often what goes wrong. */
export interface NaturePlan {
  readonly storeFaults: boolean;
  readonly diskFaults: boolean;
  /** The share of syncs that fail from the beginning on. */
  readonly syncErrors: number;
  readonly fullDisk: boolean;
  readonly damage: boolean;
  /** Of the disk's asynchronous calls. */
  readonly diskLatencyMs: number;
  readonly storeLatencyMs: number;
}

export interface Plan {
  readonly sizeBytes: number;
  readonly blockSizeBytes: number;
  readonly compress: 'none' | 'deflate' | 'zstd';
  readonly clients: number;
  readonly nature: NaturePlan;
  readonly lives: readonly LifePlan[];
  /** Only whole pages are written. */
  readonly alignedOnly: boolean;
}

export function planOf(random: Random): Plan {
  const pages = random.pick([64, 128, 256, 512]);
  const sizeBytes = pages * 4 * KIB;
  const lives = 1 + random.below(5);
  const nature: NaturePlan = {
    storeFaults: random.chance(0.6),
    diskFaults: random.chance(0.3),
    syncErrors: random.chance(0.15) ? random.pick([0.05, 0.15, 0.3]) : 0,
    fullDisk: random.chance(0.1),
    damage: random.chance(0.1),
    diskLatencyMs: random.pick([0, 0, 1, 20, 300]),
    storeLatencyMs: random.pick([2, 30, 300]),
  };
  const durability = random.chance(0.75) ? 'local' : 's3';
  return {
    sizeBytes,
    blockSizeBytes: random.pick([4, 4, 8, 16, 32, 64]) * KIB,
    compress: random.chance(0.25) ? random.pick(['deflate', 'zstd']) : 'none',
    clients: random.pick([1, 2, 4, 8]),
    nature,
    lives: Array.from({ length: lives }, () => lifePlanOf(random, sizeBytes, durability)),
    alignedOnly: random.chance(0.3),
  };
}

function lifePlanOf(random: Random, sizeBytes: number, durability: Durability): LifePlan {
  return {
    ending: random.pick<Ending>([
      'crash',
      'crash',
      'crash',
      'crash',
      'kill',
      'kill',
      'quiet crash',
      'quiet kill',
      'close',
      'close',
      'give up closing',
      'lose cache',
      'crash and lose cache',
    ]),
    endAfterMs: random.chance(0.5) ? random.below(random.pick([50, 2000, 60_000])) : Infinity,
    endAfterCalls: random.chance(0.6) ? 1 + random.below(random.pick([10, 100, 500])) : Infinity,
    operations: 5 + random.below(random.pick([20, 100, 160])),
    logSizeBytes: random.pick([256, 256, 512, 1024]) * KIB,
    cacheSizeBytes: random.pick([0, 64 * KIB, 256 * KIB, sizeBytes, 2 * sizeBytes]),
    durability: random.chance(0.1) ? 'local' : durability,
    uploadAgeMs: random.pick([1, 100, 5000, 600_000]),
    dirtyBytesMax: random.pick([16 * KIB, 128 * KIB, 1024 * KIB * KIB]),
  };
}
