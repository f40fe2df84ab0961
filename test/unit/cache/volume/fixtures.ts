/** Volumes with a cache on a simulated disk, over a bucket whose dates are those of a virtual clock. */
import assert from 'node:assert/strict';
import { MemoryObjectStore } from '../../../../src/object/memory.ts';
import type {
  GetOptions,
  ListedObject,
  ListOptions,
  ObjectData,
  PutOptions,
  PutResult,
} from '../../../../src/object/object-store.ts';
import { type CacheEnvironment, type OpenOptions, openVolume } from '../../../../src/volume/open-volume.ts';
import type { Volume } from '../../../../src/volume/volume.ts';
import type { VolumeOptions } from '../../../../src/volume/volume-options.ts';
import { Random } from '../../../support/random.ts';
import { SimDisk, type SimDiskOptions } from '../../../support/sim-disk.ts';
import { VirtualClock } from '../../../support/virtual-clock.ts';
import { type Bench, BLOCK, bench, never, volumeOptions } from '../../volume/fixtures.ts';

const MIB = 1024 * 1024;
export const CACHE_DIRECTORY = '/cache/volumes/vol';

/** A bucket that dates its objects by a clock of the test's. */
export class DatedStore extends MemoryObjectStore {
  readonly #clock: VirtualClock;
  readonly #dates = new Map<string, Date>();

  constructor(clock: VirtualClock) {
    super('dated');
    this.#clock = clock;
  }

  override async put(key: string, body: Buffer, options: PutOptions = {}): Promise<PutResult> {
    const result = await super.put(key, body, options);
    this.#dates.set(key, this.#clock.date());
    return result;
  }

  override async get(key: string, options: GetOptions = {}): Promise<ObjectData | null> {
    const object = await super.get(key, options);
    return object === null ? null : { ...object, lastModified: this.#dates.get(key) };
  }

  override async *list(prefix: string, options: ListOptions = {}): AsyncGenerator<readonly ListedObject[]> {
    for await (const page of super.list(prefix, options)) {
      yield page.map((object) => ({ ...object, lastModified: this.#dates.get(object.key) ?? new Date(0) }));
    }
  }
}

export interface Machine {
  readonly bench: Bench;
  /** Of the present life: `crash` and `kill` replace it. */
  disk: SimDisk;
  readonly cache: (overrides?: Partial<CacheEnvironment>) => CacheEnvironment;
  open(overrides?: Partial<VolumeOptions>, how?: OpenHow): Promise<Volume>;
}

export interface OpenHow extends Partial<OpenOptions> {
  readonly cache?: Partial<CacheEnvironment>;
  /** It has none, but may have had one. */
  readonly uncached?: boolean;
}

export type MachineOptions = Parameters<typeof bench>[0] &
  Pick<SimDiskOptions, 'latencyMs'> & { readonly seed?: number };

/** Nothing is uploaded by itself. */
const LAZY = { ageMs: 1e9, dirtyBytesMax: 1024 * MIB };

/** An appliance with a cache directory. Give several the same `bucket` and `clock` to have them meet. */
export function machine(options: MachineOptions = {}): Machine {
  const clock = options.clock ?? new VirtualClock();
  const bucket = options.bucket ?? new DatedStore(clock);
  const one = bench({ ...options, bucket, clock });
  const random = new Random(options.seed ?? 1);
  const self: Machine = {
    bench: one,
    disk: SimDisk.withDirectory('/cache', {
      clock,
      random,
      ...(options.latencyMs === undefined ? {} : { latencyMs: options.latencyMs }),
    }),
    cache: (overrides = {}) => ({
      disk: self.disk,
      directory: CACHE_DIRECTORY,
      cacheSizeBytes: MIB,
      logSizeBytes: MIB,
      triggers: LAZY,
      ...overrides,
    }),
    open: async (overrides = {}, { cache, uncached = false, ...open } = {}) => {
      const environment = self.cache(cache);
      const opening = openVolume(
        volumeOptions({ durability: 'local', survey: true, ...overrides }),
        { ...one.environment, cache: uncached ? null : environment, formerCache: uncached ? environment : null },
        { create: { force: false }, takeOver: false, signal: never, onLost: (error) => one.lost.push(error), ...open },
      );
      return clock.run(opening);
    },
  };
  return self;
}

/** Writes a block and flushes it to the cache. */
export async function write(machine: Machine, volume: Volume, block: number, data: Buffer): Promise<void> {
  await machine.bench.clock.run(
    Promise.resolve(volume.device.write(block * BLOCK, data, { fua: false })).then(() => volume.device.flush()),
  );
}

export async function read(machine: Machine, volume: Volume, block: number): Promise<Buffer> {
  return machine.bench.clock.run(Promise.resolve(volume.device.read(block * BLOCK, BLOCK)));
}

/** Everything is in the bucket afterwards, and the log has forgotten it. */
export async function upload({ bench: { clock } }: Machine, volume: Volume): Promise<void> {
  await clock.run(Promise.resolve(volume.cached?.uploadAll(never)));
  await clock.advance(100);
}

/** Gives up at once: what is not in the bucket stays in the cache. */
export async function leave(machine: Machine, volume: Volume): Promise<void> {
  assert.equal(await machine.bench.clock.run(volume.close(AbortSignal.abort())), 'dirty');
}

export async function finish(machine: Machine, volume: Volume): Promise<void> {
  assert.equal(await machine.bench.clock.run(volume.close(never)), 'clean');
}

/** The process dies, and its machine runs on. */
export function kill(machine: Machine): void {
  machine.disk = machine.disk.kill();
}

/** All of a file of the disk. */
export function contentOf({ disk }: Machine, path: string): Buffer {
  const file = disk.open(path);
  const bytes = Buffer.alloc(file.sizeBytes());
  file.readSync(bytes, 0);
  file.close();
  return bytes;
}

/** The block as the bucket has it, not compressed; null where there is none. */
export async function stored(machine: Machine, block: number): Promise<Buffer | null> {
  const object = await machine.bench.store.inner.get(blockKey(block));
  return object?.body ?? null;
}

export function blockKey(block: number): string {
  return `vol/${block.toString(16).padStart(8, '0')}`;
}
