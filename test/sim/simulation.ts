/** One seeded run: a volume lives, dies and lives again on a disk and over a bucket that do to it what they may. */
import { BlockCodec } from '../../src/layout/blocks/block-codec.ts';
import { BlockKeys } from '../../src/layout/blocks/block-keys.ts';
import { BlocksLayout } from '../../src/layout/blocks/blocks-layout.ts';
import { describeError } from '../../src/lib/errors.ts';
import type { Log, LogFields } from '../../src/lib/log.ts';
import { MemoryObjectStore } from '../../src/object/memory.ts';
import type { ObjectStore } from '../../src/object/object-store.ts';
import { RetryingObjectStore } from '../../src/object/retrying.ts';
import { Random } from '../support/random.ts';
import { SimDisk, type SimDiskOptions } from '../support/sim-disk.ts';
import type { VirtualClock } from '../support/virtual-clock.ts';
import { Excuses } from './excuses.ts';
import { Life } from './life.ts';
import { Load } from './load.ts';
import { Nature } from './nature.ts';
import { type LifePlan, type Plan, planOf } from './plan.ts';
import { SectorModel } from './sector-model.ts';
import type { SimVolume, Subject } from './subject.ts';
import { syncCompression } from './sync-compression.ts';
import { Trace } from './trace.ts';

/** Below a directory that is there for good, as the operator has made it. */
const PARENT = '/cache';
const DIRECTORY = `${PARENT}/volume`;
const KEY_PREFIX = 'vol/';
const RETRIES = { deadlineMs: 60_000, pauseInitialMs: 200, pauseMaxMs: 10_000 };
/** Patience, in virtual time: longer than any outage, retry or pause. */
const OPEN_MS = 3_600_000;
const SETTLE_MS = 6 * 3_600_000;

export interface RunResult {
  readonly plan: Plan;
  readonly lives: number;
  readonly requests: number;
  readonly sectorsChecked: number;
  readonly virtualMs: number;
  /** The same for two runs of one seed. */
  readonly trace: string;
  /** The disk was damaged in a way that left the volume closed. */
  readonly refused: boolean;
}

/** A run that did not end as it has to. */
export class SimulationFailure extends Error {
  override readonly name = 'SimulationFailure';
  readonly lastLines: readonly string[];

  constructor(message: string, lastLines: readonly string[], cause: unknown) {
    super(message, { cause });
    this.lastLines = lastLines;
  }
}

/** Runs the seed. Rejects with SimulationFailure where anything is not as it has to be. `print`: told every step. */
export async function simulate(
  subject: Subject,
  seed: number,
  print: ((line: string) => void) | null = null,
): Promise<RunResult> {
  const trace = new Trace(print);
  try {
    return await new Simulation(subject, seed, trace).run();
  } catch (cause) {
    const told = cause instanceof Error && cause.name === 'Error' ? cause.message : String(cause);
    throw new SimulationFailure(`seed ${seed}: ${told}`, trace.lastLines, cause);
  }
}

class Simulation {
  readonly #subject: Subject;
  readonly #random: Random;
  readonly #trace: Trace;
  readonly #plan: Plan;
  readonly #bucket = new MemoryObjectStore();
  readonly #model: SectorModel;
  /** How the disk comes to its next life. */
  #powerUp: (options: Partial<SimDiskOptions>) => SimDisk;
  #lives = 0;
  #requests = 0;
  #virtualMs = 0;
  #refused = false;

  constructor(subject: Subject, seed: number, trace: Trace) {
    this.#subject = subject;
    this.#random = new Random(seed);
    this.#trace = trace;
    const plan = planOf(this.#random);
    const { nature } = plan;
    this.#plan = { ...plan, nature: { ...nature, damage: nature.damage && subject.noticesDamage } };
    this.#model = new SectorModel(this.#plan.sizeBytes);
    this.#powerUp = (options) => this.#newDisk(options);
  }

  async run(): Promise<RunResult> {
    this.#trace.line(JSON.stringify(this.#plan));
    for (const plan of this.#plan.lives) {
      await this.#live(plan);
      if (this.#refused) break;
    }
    if (!this.#refused) await this.#lastLife();
    return {
      plan: this.#plan,
      lives: this.#lives,
      requests: this.#requests,
      sectorsChecked: this.#model.checked,
      virtualMs: this.#virtualMs,
      trace: this.#trace.summary,
      refused: this.#refused,
    };
  }

  async #live(plan: LifePlan): Promise<void> {
    const life = this.#begin(plan);
    const nature = new Nature(life, this.#plan.nature, this.#random.fork(), this.#trace, () => {
      this.#model.damaged();
    });
    const excuses = new Excuses(life.disk.incidents, life.store, plan.durability);
    nature.begin();
    const volume = await this.#open(life, plan, excuses);
    if (volume === null) {
      nature.calm();
      if (!life.isDead) life.end();
      this.#afterDeath(life, plan);
      return;
    }
    const load = this.#newLoad(life, volume, plan, excuses);
    const used = await life.drive('the load', this.#calmAfter(load.run(), life, nature), SETTLE_MS);
    if (used === null) this.#afterDeath(life, plan);
    else await this.#endQuietly(life, volume, plan, excuses, nature);
    nature.calm();
    this.#virtualMs += life.time.nowMs;
  }

  /** With nothing under way. */
  async #endQuietly(life: Life, volume: SimVolume, plan: LifePlan, excuses: Excuses, nature: Nature): Promise<void> {
    const { ending } = plan;
    if (ending === 'close' || ending === 'give up closing' || ending === 'lose cache') {
      const isClosed = await this.#close(life, volume, plan, excuses, nature);
      life.end();
      if (isClosed) this.#afterClosing(life, plan);
      else this.#afterDeath(life, plan);
      return;
    }
    if (this.#random.chance(0.5)) await life.drive('a pause', life.clock.sleep(this.#random.below(30_000)), 60_000);
    life.end();
    this.#afterDeath(life, plan);
  }

  /** A while after everything has been asked for it is calm, so that what has not been answered by then should be. */
  async #calmAfter(load: Promise<void>, life: Life, nature: Nature): Promise<void> {
    const calm = new AbortController();
    const calming = life.clock.sleep(1_200_000, calm.signal).then(
      () => nature.calm(),
      () => {},
    );
    try {
      await load;
    } finally {
      calm.abort();
      await calming;
    }
  }

  /** Null where the volume could not be opened, for a reason, or its life ended before. */
  async #open(life: Life, plan: LifePlan, excuses: Excuses): Promise<SimVolume | null> {
    const store = this.#storeStack(life);
    const layout = this.#newLayout(store, life.clock);
    if (this.#random.chance(0.4)) layout.survey().catch(() => {}); // It is told by its status, and tried again.
    const opening = this.#subject.open({
      disk: life.disk,
      directory: DIRECTORY,
      layout,
      clock: life.clock,
      log: new TracingLog(this.#trace),
      random: this.#random.fork(),
      durability: plan.durability,
      logSizeBytes: plan.logSizeBytes,
      cacheSizeBytes: plan.cacheSizeBytes,
      upload: { ageMs: plan.uploadAgeMs, dirtyBytesMax: plan.dirtyBytesMax },
    });
    try {
      const opened = await life.drive('opening', opening, OPEN_MS);
      life.isOpen = opened !== null;
      return opened?.value ?? null;
    } catch (error) {
      if (life.isDead) return null;
      this.#trace.line(`cannot be opened: ${describeError(error)}`);
      if (!excuses.admit('open', error)) throw error;
      // Damage that stays: the operator has been told, and nothing wrong was given out.
      this.#refused = life.disk.incidents.damages > 0;
      return null;
    }
  }

  async #close(
    life: Life,
    volume: SimVolume,
    { ending }: LifePlan,
    excuses: Excuses,
    nature: Nature,
  ): Promise<boolean> {
    const giveUp = new AbortController();
    if (ending === 'give up closing') {
      const afterMs = this.#random.below(this.#random.pick([5, 500, 20_000]));
      life.clock.sleep(afterMs).then(
        () => giveUp.abort(),
        () => {},
      );
    } else {
      nature.calm();
    }
    const mark = this.#model.mark();
    const before = excuses.diskHasFailed;
    try {
      const closed = await life.drive('closing', volume.close(giveUp.signal), SETTLE_MS);
      if (closed === null) return false;
      this.#trace.line(`closed: ${closed.value}`);
      if (closed.value) this.#model.uploaded(mark);
      // What the disk has lost is never in the bucket.
      else if (!giveUp.signal.aborted && life.disk.incidents.damages === 0)
        throw new Error('closing gave up although nobody had asked it to');
      return true;
    } catch (error) {
      if (!before && !excuses.diskHasFailed && !excuses.admit('close', error)) throw error;
      this.#trace.line(`closing failed: ${describeError(error)}`);
      return false;
    }
  }

  #afterClosing(life: Life, { ending }: LifePlan): void {
    if (ending === 'lose cache') {
      this.#loseDisk(life);
      return;
    }
    this.#model.restart();
    this.#powerUp = (options) => life.disk.crash(options);
  }

  #afterDeath(life: Life, { ending }: LifePlan): void {
    if (ending === 'crash and lose cache' || ending === 'lose cache') {
      this.#loseDisk(life);
      return;
    }
    this.#model.crash();
    const onlyProcess = ending === 'kill' || ending === 'quiet kill';
    this.#powerUp = (options) => (onlyProcess ? life.disk.kill(options) : life.disk.crash(options));
  }

  #loseDisk(life: Life): void {
    this.#trace.line('the cache is lost');
    this.#model.loseCache();
    this.#powerUp = (options) => this.#newDisk(options, life.disk);
  }

  /** Nothing goes wrong any more: everything must be there, and be uploaded, and be in the bucket then. */
  async #lastLife(): Promise<void> {
    const lastPlan = this.#plan.lives.at(-1);
    if (lastPlan === undefined) return;
    const plan: LifePlan = { ...lastPlan, ending: 'close', operations: 0 };
    const life = this.#begin(plan);
    life.disk.capacityBytes = Infinity;
    const excuses = new Excuses(life.disk.incidents, life.store, plan.durability);
    const volume = await this.#open(life, plan, excuses);
    if (volume === null) {
      if (!this.#refused) throw new Error('the volume cannot be opened');
      life.end();
      return;
    }
    const load = this.#newLoad(life, volume, plan, excuses);
    await life.drive('reading all', load.readAll(), SETTLE_MS);
    const mark = this.#model.mark();
    const upload = volume.uploadAll(new AbortController().signal);
    const damages = life.disk.incidents.damages;
    try {
      await life.drive('uploading all', upload, SETTLE_MS);
      this.#model.uploaded(mark);
      await life.drive('reading all again', load.readAll(), SETTLE_MS);
      const closed = await life.drive('closing', volume.close(new AbortController().signal), SETTLE_MS);
      if (closed?.value !== true) throw new Error('closing did not say that everything is in the bucket');
    } catch (error) {
      if (damages === 0) throw error;
      this.#trace.line(`the damage has its price: ${describeError(error)}`);
    }
    if (damages === 0) await this.#readBucket(life);
    this.#virtualMs += life.time.nowMs;
    life.end();
  }

  /** The bucket, as somebody sees it who knows nothing of the cache. */
  async #readBucket(life: Life): Promise<void> {
    const layout = this.#newLayout(this.#bucket, life.clock);
    const mark = this.#model.mark();
    const { sizeBytes } = this.#plan;
    const bytes = await life.drive('reading the bucket', layout.read(0, sizeBytes), OPEN_MS);
    if (bytes === null) throw new Error('the last life ended early');
    try {
      this.#model.read(mark, 0, bytes.value);
    } catch (cause) {
      throw new Error(`in the bucket: ${describeError(cause)}`, { cause });
    }
  }

  #begin(plan: LifePlan): Life {
    const life = new Life({
      number: ++this.#lives,
      plan,
      nature: this.#plan.nature,
      random: this.#random,
      trace: this.#trace,
      bucket: this.#bucket,
      powerUp: (clock, onCall) => this.#powerUp({ clock, onCall }),
    });
    this.#trace.line(`life ${this.#lives}: ${JSON.stringify(plan)}`);
    return life;
  }

  /** `before`: the one whose files are gone. */
  #newDisk(options: Partial<SimDiskOptions>, before?: SimDisk): SimDisk {
    const { diskLatencyMs } = this.#plan.nature;
    const latency = this.#random.fork();
    const { clock, onCall } = options as { clock: VirtualClock; onCall: () => void };
    return SimDisk.withDirectory(PARENT, {
      clock,
      onCall,
      random: this.#random.fork(),
      trace: this.#trace.line,
      latencyMs: () => latency.next() * diskLatencyMs,
      ...(before === undefined ? {} : { incidents: before.incidents }),
    });
  }

  #storeStack(life: Life): ObjectStore {
    const random = this.#random.fork();
    return new RetryingObjectStore(life.store, RETRIES, life.clock, undefined, () => random.next());
  }

  #newLayout(store: ObjectStore, clock: VirtualClock): BlocksLayout {
    const { sizeBytes, blockSizeBytes, compress } = this.#plan;
    return new BlocksLayout({
      store,
      keys: new BlockKeys(KEY_PREFIX, false),
      codec: new BlockCodec({
        blockSizeBytes,
        compress,
        compressLevel: null,
        cipher: null,
        compression: syncCompression,
      }),
      sizeBytes,
      blockSizeBytes,
      mark: { volumeId: 'simulated', resizes: 0 },
      exclusive: true,
      inFlightBlocksMax: 4,
      clock,
      log: new TracingLog(this.#trace),
    });
  }

  #newLoad(life: Life, volume: SimVolume, plan: LifePlan, excuses: Excuses): Load {
    return new Load({
      life,
      volume,
      model: this.#model,
      excuses,
      plan: this.#plan,
      durability: plan.durability,
      operations: plan.operations,
      random: this.#random.fork(),
      trace: this.#trace,
      nextWrite: () => ++this.#requests,
    });
  }
}

/** What the engine logs is part of the trace. */
class TracingLog implements Log {
  readonly #trace: Trace;

  constructor(trace: Trace) {
    this.#trace = trace;
  }

  debug(message: string, fields?: LogFields): void {
    this.#line('debug', message, fields);
  }

  info(message: string, fields?: LogFields): void {
    this.#line('info', message, fields);
  }

  warn(message: string, fields?: LogFields): void {
    this.#line('warn', message, fields);
  }

  error(message: string, fields?: LogFields): void {
    this.#line('error', message, fields);
  }

  child(): Log {
    return this;
  }

  #line(level: string, message: string, fields: LogFields = {}): void {
    this.#trace.line(`log ${level}: ${message} ${JSON.stringify(fields)}`);
  }
}
