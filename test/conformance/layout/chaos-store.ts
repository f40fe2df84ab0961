/** A bucket whose requests take effect late, in any order, fail before or after it, and whose listings are old. */
import { StorageError } from '../../../src/lib/errors.ts';
import type {
  GetOptions,
  ListedObject,
  ListOptions,
  ObjectData,
  ObjectInfo,
  ObjectStore,
  PutOptions,
  PutResult,
  RequestOptions,
} from '../../../src/object/object-store.ts';
import type { Random } from '../../support/random.ts';

/** After this many turns in which nobody has paused, it waits for threads or for nothing. */
const IDLE_TURNS = 10;

/** Those who pause go on one at a time, in an order of its own. */
export class Scheduler {
  readonly #random: Random;
  readonly #paused: (() => void)[] = [];
  readonly #idleMsMax: number;

  constructor(random: Random, idleMsMax = 10_000) {
    this.#random = random;
    this.#idleMsMax = idleMsMax;
  }

  pause(): Promise<void> {
    return new Promise((resolve) => this.#paused.push(resolve));
  }

  async pauses(count: number): Promise<void> {
    for (let i = 0; i < count; i++) await this.pause();
  }

  /** Lets them go on until `work` has ended. Rejects where `work` has not ended and nobody has paused for long. */
  async runUntil(work: Promise<unknown>): Promise<void> {
    let ended = false;
    const end = (): void => {
      ended = true;
    };
    work.then(end, end);
    for (let idleTurns = 0; !ended; idleTurns++) {
      await new Promise((resolve) => setImmediate(resolve));
      if (this.#paused.length > 0) idleTurns = 0;
      // One of a few, some of many.
      for (let left = Math.ceil(this.#paused.length / 16); left > 0; left--) this.#resumeOne();
      if (idleTurns < IDLE_TURNS || ended) continue;
      if (idleTurns > IDLE_TURNS + this.#idleMsMax)
        throw new Error('it hangs: nothing goes on, and the work has not ended');
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
    await work;
  }

  #resumeOne(): void {
    const at = this.#random.below(this.#paused.length);
    const chosen = this.#paused[at];
    const last = this.#paused.pop();
    if (last !== undefined && last !== chosen) this.#paused[at] = last;
    chosen?.();
  }
}

export class ChaosStore implements ObjectStore {
  readonly #inner: ObjectStore;
  readonly #scheduler: Scheduler;
  readonly #random: Random;
  /** The share of requests that fail. */
  faults: number;
  calls = 0;

  constructor(inner: ObjectStore, scheduler: Scheduler, random: Random, faults: number) {
    this.#inner = inner;
    this.#scheduler = scheduler;
    this.#random = random;
    this.faults = faults;
  }

  get description(): string {
    return 'chaos';
  }

  get bucket(): string {
    return this.#inner.bucket;
  }

  get(key: string, options?: GetOptions): Promise<ObjectData | null> {
    return this.#run(() => this.#inner.get(key, options));
  }

  head(key: string, options?: RequestOptions): Promise<ObjectInfo | null> {
    return this.#run(() => this.#inner.head(key, options));
  }

  put(key: string, body: Buffer, options?: PutOptions): Promise<PutResult> {
    return this.#run(() => this.#inner.put(key, body, options));
  }

  delete(keys: readonly string[], options?: RequestOptions): Promise<void> {
    return this.#run(
      () => this.#inner.delete(keys, options),
      () => this.#inner.delete(keys.filter(() => this.#random.chance(0.5))),
    );
  }

  /** Pages of a few keys, each made some time before it is delivered. */
  async *list(prefix: string, options: ListOptions = {}): AsyncGenerator<readonly ListedObject[]> {
    let { startAfter } = options;
    const pageKeys = this.#random.chance(0.5) ? 1000 : 1 + this.#random.below(8);
    for (;;) {
      const page = await this.#run(async () => {
        const after = startAfter === undefined ? {} : { startAfter };
        for await (const keys of this.#inner.list(prefix, after)) return keys.slice(0, pageKeys);
        return [];
      });
      if (page.length > 0) yield page;
      if (page.length < pageKeys) return;
      startAfter = page.at(-1)?.key;
    }
  }

  close(): Promise<void> {
    return this.#inner.close();
  }

  async #run<T>(effect: () => Promise<T>, half?: () => Promise<unknown>): Promise<T> {
    this.calls += 1;
    await this.#scheduler.pauses(1 + this.#random.below(4));
    const fails = this.#random.chance(this.faults);
    if (fails && this.#random.chance(0.5)) throw this.#error();
    if (fails && half !== undefined && this.#random.chance(0.5)) await half();
    const value = await effect();
    await this.#scheduler.pauses(this.#random.below(4));
    if (fails) throw this.#error();
    return value;
  }

  #error(): StorageError {
    const code = this.#random.pick(['TIMEOUT', 'UNAVAILABLE', 'CANCELLED', 'ACCESS_DENIED'] as const);
    return new StorageError(code, 'chaos');
  }
}
