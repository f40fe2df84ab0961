/**
 * One seeded run of a disk under concurrent requests over a bucket that delays, reorders and fails, held against what each
 * block may hold. Overlapping requests take effect in the order they were made: that order is the model's only one.
 */
import assert from 'node:assert/strict';
import type { BlocksLayout } from '../../../src/layout/blocks/blocks-layout.ts';
import { StorageError } from '../../../src/lib/errors.ts';
import { isAllZero } from '../../../src/lib/zeros.ts';
import { MemoryObjectStore } from '../../../src/object/memory.ts';
import type { BlockDevice } from '../../../src/volume/block-device.ts';
import { openFence } from '../../../src/volume/fence.ts';
import { WriteThroughDevice } from '../../../src/volume/write-through-device.ts';
import { Random } from '../../support/random.ts';
import { BlockModel, type ClaimedHole, type Outcome } from './block-model.ts';
import { ChaosStore, Scheduler } from './chaos-store.ts';
import { type BlocksVariant, openBlocks, PREFIX } from './variants.ts';

/** What a run is made of; all of it follows from the seed. */
interface Plan {
  readonly variant: BlocksVariant;
  readonly blocks: number;
  readonly requests: number;
  readonly requestsAtOnce: number;
  readonly faults: number;
  readonly inFlightBlocksMax: number;
  readonly surveyFirst: boolean;
}

export interface RunCounts {
  readonly requests: number;
  readonly failed: number;
  readonly storeCalls: number;
}

/** `large`: trims take so many blocks that they are made in turns. */
function planOf(random: Random, large: boolean): Plan {
  const variant: BlocksVariant = {
    blockSizeBytes: random.pick([16, 64, 96]),
    // Compression runs on threads, whose order no seed repeats: most runs do without.
    compress: random.chance(0.05) ? random.pick(['deflate', 'zstd']) : 'none',
    cipher: random.chance(0.02) ? 'AES-256-CBC' : null,
    hashed: random.chance(0.3),
    exclusive: random.chance(0.8),
  };
  return {
    variant,
    blocks: large ? 4500 + random.below(5000) : random.pick([1, 3, 12, 40]),
    requests: large ? 40 : 20 + random.below(100),
    requestsAtOnce: large ? 20 : random.pick([1, 4, 16, 48]),
    faults: random.pick([0, 0, 0.02, 0.15]),
    inFlightBlocksMax: random.pick([1, 2, 16]),
    surveyFirst: random.chance(0.4),
  };
}

class Run {
  readonly #plan: Plan;
  readonly #random: Random;
  readonly #scheduler: Scheduler;
  readonly #layout: BlocksLayout;
  readonly #device: BlockDevice;
  readonly #outcomes: Outcome[] = [];
  readonly #underWay = new Set<Promise<void>>();
  readonly store: ChaosStore;

  constructor(plan: Plan, bucket: MemoryObjectStore, random: Random, scheduler: Scheduler) {
    this.#plan = plan;
    this.#random = random;
    this.#scheduler = scheduler;
    this.store = new ChaosStore(bucket, scheduler, random, plan.faults);
    const { variant, blocks, inFlightBlocksMax } = plan;
    this.#layout = openBlocks(this.store, variant, blocks * variant.blockSizeBytes, { inFlightBlocksMax });
    this.#device = new WriteThroughDevice({ layout: this.#layout, fence: openFence, readOnly: false });
  }

  get layout(): BlocksLayout {
    return this.#layout;
  }

  get outcomes(): readonly Outcome[] {
    return this.#outcomes;
  }

  async go(): Promise<void> {
    if (this.#plan.surveyFirst) this.#survey();
    while (this.#outcomes.length < this.#plan.requests) {
      if (this.#underWay.size >= this.#plan.requestsAtOnce) await Promise.race(this.#underWay);
      else if (this.#random.chance(0.3)) await this.#scheduler.pauses(this.#random.below(6));
      else this.#make();
    }
    await Promise.all(this.#underWay);
    await this.#device.close();
  }

  #make(): void {
    const kind = this.#random.below(100);
    const { offset, length } = this.#range();
    if (kind < 25) this.#read(offset, Math.min(length, 50 * this.#plan.variant.blockSizeBytes));
    else if (kind < 35) this.#peek(offset, Math.min(length, 50 * this.#plan.variant.blockSizeBytes));
    else if (kind < 65) this.#write(offset, Math.min(length, 4 * this.#plan.variant.blockSizeBytes));
    else if (kind < 80) this.#zero(offset, length);
    else if (kind < 90) this.#extents(offset, length);
    else if (kind < 96) this.#flush();
    else this.#survey();
  }

  #survey(): void {
    this.#track('other', 0, 0, () => this.#layout.survey());
  }

  /** Of any alignment; about half begin and end with a block, some are the whole disk. Most of a large disk is left alone. */
  #range(): { offset: number; length: number } {
    const { blockSizeBytes } = this.#plan.variant;
    const sizeBytes = this.#plan.blocks * blockSizeBytes;
    const near = this.#plan.blocks > 100 && this.#random.chance(0.7);
    if (near)
      return { offset: this.#random.below(8 * blockSizeBytes), length: 1 + this.#random.below(2 * blockSizeBytes) };
    if (this.#random.chance(this.#plan.blocks > 100 ? 0.3 : 0.05)) return { offset: 0, length: sizeBytes };
    const unit = this.#random.chance(0.5) ? blockSizeBytes : 1;
    const offset = this.#random.below(sizeBytes / unit) * unit;
    const longest = this.#random.chance(0.1) ? sizeBytes : 3 * blockSizeBytes;
    const wanted = Math.ceil((1 + this.#random.below(longest)) / unit) * unit;
    return { offset, length: Math.min(wanted, sizeBytes - offset) };
  }

  #read(offset: number, length: number): void {
    this.#track('read', offset, length, async (outcome) => {
      const bytes = await this.#device.read(offset, length);
      assert.equal(bytes.length, length, 'a read returns what it was asked for');
      outcome.bytes = Buffer.from(bytes);
    });
  }

  #peek(offset: number, length: number): void {
    this.#track('peek', offset, length, async (outcome) => {
      const bytes = await this.#layout.peek(offset, length);
      assert.equal(bytes.length, length, 'a peek returns what it was asked for');
      outcome.bytes = Buffer.from(bytes);
    });
  }

  #write(offset: number, length: number): void {
    const tag = (this.#outcomes.length % 255) + 1;
    const data = this.#random.chance(0.1) ? Buffer.alloc(length) : Buffer.alloc(length, tag);
    const outcome = this.#track('write', offset, length, async () => {
      try {
        await this.#device.write(offset, data, { fua: this.#random.chance(0.2) });
      } finally {
        // From here on the buffer is its owner's, who uses it for something else.
        data.fill(0xee);
      }
    });
    outcome.bytes = Buffer.from(data);
  }

  #zero(offset: number, length: number): void {
    this.#track('zero', offset, length, async () => {
      if (this.#random.chance(0.5)) await this.#device.trim(offset, length, { fua: false });
      else await this.#device.zero(offset, length, { fua: false, mayTrim: true, fastOnly: false });
    });
  }

  #extents(offset: number, length: number): void {
    const { blockSizeBytes } = this.#plan.variant;
    this.#track('extents', offset, length, async (outcome) => {
      const extents = await this.#device.extents(offset, length);
      const holes: ClaimedHole[] = [];
      let at = offset;
      for (const extent of extents) {
        assert.ok(extent.length > 0);
        for (const end = at + extent.length; at < end; ) {
          const block = Math.floor(at / blockSizeBytes);
          const pieceEnd = Math.min(end, (block + 1) * blockSizeBytes);
          const base = block * blockSizeBytes;
          if (extent.zero || extent.hole) holes.push({ block, start: at - base, end: pieceEnd - base });
          at = pieceEnd;
        }
      }
      assert.equal(at, offset + length, 'extents cover what was asked for');
      outcome.holes = holes;
    });
  }

  #flush(): void {
    const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));
    this.#track('other', 0, 0, async () => {
      // Those who wait for writes are told some steps after the device is: between turns both agree.
      await turn();
      const writes = this.#outcomes.filter(({ kind }) => kind === 'write' || kind === 'zero');
      const unanswered = writes.filter(({ answeredAt }) => answeredAt === 0);
      await this.#device.flush();
      await turn();
      for (const { answeredAt, ok } of unanswered) {
        assert.notEqual(answeredAt, 0, 'a flush waits for every write made before it');
        assert.ok(ok, 'a flush fails where a write under way fails');
      }
    });
  }

  #track(kind: Outcome['kind'], offset: number, length: number, work: (outcome: Outcome) => Promise<void>): Outcome {
    const outcome: Outcome = { kind, offset, length, bytes: null, ok: false, holes: [], answeredAt: 0 };
    this.#outcomes.push(outcome);
    const done = work(outcome).then(
      () => {
        outcome.ok = true;
      },
      (error: unknown) => {
        if (!(error instanceof StorageError)) throw error;
        const expected = this.#plan.faults > 0 && error.code !== 'CORRUPT';
        assert.ok(expected, `a request failed although nothing went wrong with it: ${error.message}`);
      },
    );
    const settled = done.finally(() => {
      outcome.answeredAt = this.#outcomes.length;
      this.#underWay.delete(settled);
    });
    this.#underWay.add(settled);
    return outcome;
  }
}

/** Runs the seed; rejects, naming it, where anything is not as it has to be. */
export async function runModel(seed: number, large: boolean): Promise<RunCounts> {
  const random = new Random(seed);
  const plan = planOf(random, large);
  try {
    return await runPlan(plan, random);
  } catch (cause) {
    throw new Error(`seed ${seed} (MODEL_SEED=${seed} repeats it): ${String(cause)}\n${JSON.stringify(plan)}`, {
      cause,
    });
  }
}

async function runPlan(plan: Plan, random: Random): Promise<RunCounts> {
  const bucket = new MemoryObjectStore();
  const { variant, blocks } = plan;
  const sizeBytes = blocks * variant.blockSizeBytes;
  const history: Outcome[] = [];
  const scheduler = new Scheduler(random);
  // Objects of an earlier life of the volume, which the run begins by not knowing.
  const earlier = openBlocks(bucket, variant, sizeBytes);
  for (let i = random.below(Math.min(blocks, 30)); i > 0; i--) {
    const block = random.below(blocks);
    const data = Buffer.alloc(variant.blockSizeBytes, 0x80 + i);
    await earlier.commit({ extents: [{ offset: block * data.length, data }] });
    history.push({
      kind: 'write',
      offset: block * data.length,
      length: data.length,
      bytes: data,
      ok: true,
      holes: [],
      answeredAt: 0,
    });
  }
  const run = new Run(plan, bucket, random, scheduler);
  await scheduler.runUntil(run.go());
  const model = new BlockModel(variant.blockSizeBytes);
  for (const outcome of history) model.take(outcome, -1);
  for (const [index, outcome] of run.outcomes.entries()) model.take(outcome, index);
  model.confirmPeeks();
  await checkBucket(plan, bucket, model);
  const { layout, outcomes, store } = run;
  if (plan.faults === 0 && layout.storedBlocks !== null) {
    assert.equal(layout.storedBlocks, (await listBucket(bucket)).length, 'what is stored is known');
  }
  return {
    requests: outcomes.length,
    failed: outcomes.filter(({ ok }) => !ok).length,
    storeCalls: store.calls,
  };
}

/** Somebody who opens the volume next finds exactly one of the possible images of every block, and no object of zeros. */
async function checkBucket(plan: Plan, bucket: MemoryObjectStore, model: BlockModel): Promise<void> {
  const { variant, blocks } = plan;
  const { blockSizeBytes } = variant;
  const fresh = openBlocks(bucket, variant, blocks * blockSizeBytes);
  const keys = await listBucket(bucket);
  const stored = new Set(keys.map((key) => Number.parseInt(key.slice(-8), 16)));
  for (const block of new Set([...stored, ...model.touchedBlocks])) {
    const image = await fresh.read(block * blockSizeBytes, blockSizeBytes);
    model.confirm(block, image);
    assert.equal(stored.has(block), !isAllZero(image), `block ${block} has an object exactly where it is not zeros`);
  }
  const first = keys.find((key) => key.endsWith('00000000'));
  if (first === undefined) return;
  const metadata = (await bucket.head(first))?.metadata;
  assert.equal(metadata?.['s3backer-filesize'], String(blocks * blockSizeBytes));
  assert.equal(metadata?.['s3backer-blocksize'], String(blockSizeBytes));
}

async function listBucket(bucket: MemoryObjectStore): Promise<string[]> {
  const keys: string[] = [];
  for await (const page of bucket.list(PREFIX)) keys.push(...page.map(({ key }) => key));
  return keys;
}
