/**
 * One seeded run of a volume behind its cache, over blocks in a bucket that delays, reorders and fails. Every read has to be of the
 * moment it was made at, to the byte, whatever is fetched, uploaded and evicted meanwhile.
 */
import assert from 'node:assert/strict';
import { CachedVolume } from '../../../src/cache/cached-volume.ts';
import type { BlocksLayout } from '../../../src/layout/blocks/blocks-layout.ts';
import { StorageError } from '../../../src/lib/errors.ts';
import { silentLog } from '../../../src/lib/log.ts';
import { MemoryObjectStore } from '../../../src/object/memory.ts';
import type { GetOptions, ObjectData, PutOptions, PutResult } from '../../../src/object/object-store.ts';
import { PoisonedSlabs } from '../../support/poisoned-slabs.ts';
import { Random } from '../../support/random.ts';
import { SimDisk } from '../../support/sim-disk.ts';
import { VirtualClock } from '../../support/virtual-clock.ts';
import { ChaosStore, Scheduler } from '../layout/chaos-store.ts';
import { type BlocksVariant, openBlocks, PLAIN } from '../layout/variants.ts';

const KIB = 1024;
/** A slow request is overtaken by whole uploads. */
const SLOW_PAUSES = 60;
const NEVER = new AbortController().signal;

export interface RunCounts {
  readonly reads: number;
  /** Pages that had to be fetched. */
  readonly missedPages: number;
  readonly batches: number;
}

/** What a run is made of; all of it follows from the seed. */
interface Plan {
  readonly variant: BlocksVariant;
  readonly blocks: number;
  readonly requests: number;
  readonly requestsAtOnce: number;
  readonly faults: number;
  readonly slowGets: number;
  readonly slowPuts: number;
  readonly inFlightBlocksMax: number;
  readonly cacheSizeBytes: number;
  readonly surveyFirst: boolean;
}

function planOf(random: Random): Plan {
  // So many that zeroing all of them is done in turns.
  const isMany = random.chance(0.15);
  const blockSizeBytes = isMany ? 4 * KIB : random.pick([4 * KIB, 16 * KIB, 64 * KIB, 256 * KIB]);
  const few = blockSizeBytes === 4 * KIB ? 24 : random.pick([2, 4, 6]);
  return {
    variant: { ...PLAIN, blockSizeBytes },
    blocks: isMany ? 1500 + random.below(1000) : few,
    requests: 60 + random.below(200),
    requestsAtOnce: random.pick([4, 16, 48]),
    faults: random.pick([0, 0, 0.02, 0.15]),
    slowGets: random.pick([0, 0.2, 0.6]),
    slowPuts: random.pick([0, 0, 0.3]),
    inFlightBlocksMax: random.pick([1, 2, 16]),
    cacheSizeBytes: random.pick([64 * KIB, 128 * KIB, 1024 * KIB]),
    surveyFirst: random.chance(0.5),
  };
}

/** A bucket some of whose requests take very long. */
class SlowStore extends ChaosStore {
  readonly #linger: (share: number) => Promise<void>;
  readonly #plan: Plan;

  constructor(bucket: MemoryObjectStore, scheduler: Scheduler, random: Random, plan: Plan) {
    super(bucket, scheduler, random, plan.faults);
    this.#plan = plan;
    this.#linger = (share) => scheduler.pauses(random.chance(share) ? random.below(SLOW_PAUSES) : 0);
  }

  override async get(key: string, options?: GetOptions): Promise<ObjectData | null> {
    await this.#linger(this.#plan.slowGets);
    const object = await super.get(key, options);
    await this.#linger(this.#plan.slowGets / 4);
    return object;
  }

  override async put(key: string, body: Buffer, options?: PutOptions): Promise<PutResult> {
    await this.#linger(this.#plan.slowPuts);
    return super.put(key, body, options);
  }

  override async delete(keys: readonly string[]): Promise<void> {
    await this.#linger(this.#plan.slowPuts);
    return super.delete(keys);
  }
}

class Run {
  readonly #plan: Plan;
  readonly #random: Random;
  readonly #scheduler: Scheduler;
  readonly #clock = new VirtualClock();
  readonly #bucket = new MemoryObjectStore();
  readonly #store: SlowStore;
  readonly #layout: BlocksLayout;
  readonly #disk: SimDisk;
  /** The volume's bytes after every request made so far. */
  readonly #image: Buffer;
  readonly #underWay = new Set<Promise<void>>();
  #made = 0;
  #reads = 0;
  #failure: Error | null = null;

  constructor(plan: Plan, random: Random, scheduler: Scheduler) {
    this.#plan = plan;
    this.#random = random;
    this.#scheduler = scheduler;
    const { variant, blocks, inFlightBlocksMax } = plan;
    this.#image = Buffer.alloc(blocks * variant.blockSizeBytes);
    this.#store = new SlowStore(this.#bucket, scheduler, random, plan);
    this.#layout = openBlocks(this.#store, variant, this.#image.length, { inFlightBlocksMax, clock: this.#clock });
    this.#disk = SimDisk.withDirectory('/cache', { clock: this.#clock, random });
  }

  async go(): Promise<RunCounts> {
    await this.#fillBucket();
    let volume = await this.#open();
    if (this.#plan.surveyFirst) this.#track('survey', this.#layout.survey());
    while (this.#made < this.#plan.requests && this.#failure === null) {
      if (this.#underWay.size >= this.#plan.requestsAtOnce) await Promise.race(this.#underWay);
      else if (this.#random.chance(0.35)) await this.#scheduler.pauses(this.#random.below(8));
      else if (this.#random.chance(0.01)) volume = await this.#reopen(volume);
      else this.#make(volume);
    }
    await Promise.all(this.#underWay);
    if (this.#failure !== null) throw this.#failure;
    await volume.uploadAll(NEVER);
    const { missedPages, upload } = volume.status();
    this.#store.faults = 0;
    const { length } = this.#image;
    assert.ok(this.#image.equals(await volume.read(0, length)), 'the volume at the end');
    const fresh = openBlocks(this.#bucket, this.#plan.variant, length);
    assert.ok(this.#image.equals(await fresh.read(0, length)), 'the bucket at the end');
    assert.equal(await volume.close(NEVER), true);
    await this.#layout.close();
    return { reads: this.#reads, missedPages, batches: upload.batches };
  }

  /** Lets the time pass that retries and uploads wait for, until `ended`. */
  async passTime(ended: () => boolean): Promise<void> {
    while (!ended()) {
      await new Promise((resolve) => setImmediate(resolve));
      if (this.#random.chance(0.3)) await this.#clock.time.step();
    }
  }

  /** Objects of an earlier life of the volume. */
  async #fillBucket(): Promise<void> {
    const { variant, blocks } = this.#plan;
    const earlier = openBlocks(this.#bucket, variant, this.#image.length);
    for (let left = this.#random.below(Math.min(blocks, 20) + 1); left > 0; left--) {
      const offset = this.#random.below(blocks) * variant.blockSizeBytes;
      const data = Buffer.alloc(variant.blockSizeBytes, 0x80 + left);
      await earlier.commit({ extents: [{ offset, data }] });
      data.copy(this.#image, offset);
    }
  }

  #open(): Promise<CachedVolume> {
    const random = this.#random;
    return CachedVolume.open({
      disk: this.#disk,
      directory: '/cache/volume',
      layout: this.#layout,
      volumeId: 'volume',
      trusted: true,
      unchanged: null,
      onTrusted: async () => {},
      durability: random.pick(['local', 's3']),
      logSizeBytes: 1024 * KIB,
      cacheSizeBytes: this.#plan.cacheSizeBytes,
      triggers: { ageMs: random.pick([1, 20, 1e9]), dirtyBytesMax: random.pick([1, 64 * KIB]) },
      lost: () => null,
      whenOurs: (work) => work.finally(() => (random.chance(0.2) ? this.#scheduler.pause() : undefined)),
      clock: this.#clock,
      log: silentLog,
      slabs: new PoisonedSlabs(),
    });
  }

  async #reopen(volume: CachedVolume): Promise<CachedVolume> {
    await Promise.all(this.#underWay);
    assert.equal(await volume.close(NEVER), true);
    return this.#open();
  }

  #make(volume: CachedVolume): void {
    this.#made++;
    const random = this.#random;
    const kind = random.below(100);
    const { offset, length } = this.#range();
    if (kind < 40) {
      this.#read(volume, offset, length);
    } else if (kind < 66) {
      const data = Buffer.alloc(length, random.chance(0.15) ? 0 : (this.#made % 127) + 1);
      data.copy(this.#image, offset);
      this.#track('write', volume.write(offset, data, { fua: random.chance(0.1) }));
    } else if (kind < 76) {
      this.#zero(volume, offset, length);
    } else if (kind < 90) {
      this.#track('flush', volume.flush());
    } else if (kind < 95) {
      this.#track('prefetch', volume.prefetch(offset, length));
    } else if (kind < 98) {
      this.#track('upload', volume.uploadAll(NEVER));
    } else {
      this.#track('extents', volume.extents(offset, length));
    }
  }

  #read(volume: CachedVolume, offset: number, length: number): void {
    this.#reads++;
    const expected = Buffer.from(this.#image.subarray(offset, offset + length));
    const compared = Promise.resolve(volume.read(offset, length)).then((bytes) => {
      if (bytes.equals(expected)) return;
      const wrong = bytes.findIndex((byte, at) => byte !== expected[at]);
      throw new Error(`byte ${offset + wrong} is ${bytes[wrong]} and not ${expected[wrong]}`);
    });
    this.#track(`read of ${length} bytes at ${offset}`, compared);
  }

  /** Half of them whole blocks, some of those all of a large volume. */
  #zero(volume: CachedVolume, offset: number, length: number): void {
    const random = this.#random;
    const { variant, blocks } = this.#plan;
    const { blockSizeBytes } = variant;
    const isWhole = random.chance(0.5);
    const count = blocks > 1000 && random.chance(0.5) ? blocks : 1 + random.below(3);
    const from = isWhole ? Math.floor(offset / blockSizeBytes) * blockSizeBytes : offset;
    const to = isWhole ? Math.min(this.#image.length, from + count * blockSizeBytes) : offset + length;
    this.#image.fill(0, from, to);
    this.#track('zero', volume.zero(from, to - from, { fua: false }));
  }

  /** Most are near the beginning, so that they meet. */
  #range(): { offset: number; length: number } {
    const random = this.#random;
    const { blockSizeBytes } = this.#plan.variant;
    const sizeBytes = this.#image.length;
    const unit = random.pick([1, 512, 4096, 4096]);
    const near = Math.min(sizeBytes, 2 * Math.max(blockSizeBytes, 16 * KIB));
    const offset = random.below(Math.floor((random.chance(0.6) ? near : sizeBytes) / unit)) * unit;
    const longest = random.pick([600, 4096, 20_000, 20_000, 2 * blockSizeBytes]);
    return { offset, length: Math.min(sizeBytes - offset, Math.ceil((1 + random.below(longest)) / unit) * unit) };
  }

  #track(what: string, work: unknown): void {
    const number = this.#made;
    const done = Promise.resolve(work)
      .catch((cause: unknown) => {
        if (cause instanceof StorageError && cause.code !== 'CORRUPT' && this.#plan.faults > 0) return;
        this.#failure ??= new Error(`request ${number}, ${what}: ${String(cause)}`, { cause });
      })
      .then(() => void this.#underWay.delete(done));
    this.#underWay.add(done);
  }
}

/** Runs the seed; rejects, naming it, where anything is not as it has to be. */
export async function runModel(seed: number): Promise<RunCounts> {
  const random = new Random(seed);
  const plan = planOf(random);
  const scheduler = new Scheduler(random);
  const run = new Run(plan, random, scheduler);
  const going = run.go();
  let hasEnded = false;
  const passing = run.passTime(() => hasEnded);
  try {
    await scheduler.runUntil(going);
    return await going;
  } catch (cause) {
    throw new Error(`seed ${seed} (MODEL_SEED=${seed} repeats it): ${String(cause)}\n${JSON.stringify(plan)}`, {
      cause,
    });
  } finally {
    hasEnded = true;
    await passing;
  }
}
