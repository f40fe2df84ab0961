/**
 * A bucket beyond a network: requests take time and overtake each other, fail before or after they have taken effect, and
 * for a while none gets through. One handle a life: when that ends, what was under way arrives or does not, and nothing more.
 */
import type { Clock } from '../../src/lib/clock.ts';
import { isStorageError, StorageError } from '../../src/lib/errors.ts';
import type { MemoryObjectStore } from '../../src/object/memory.ts';
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
} from '../../src/object/object-store.ts';
import type { Random } from '../support/random.ts';

/** `fair`: nothing fails. `flaky`: some requests do. `out`: all do. `denied`: all are refused, for good as far as they know. */
export type Weather = 'fair' | 'flaky' | 'out' | 'denied';

export interface SimStoreOptions {
  readonly inner: MemoryObjectStore;
  readonly clock: Clock;
  readonly random: Random;
  readonly latencyMs: number;
  readonly trace: (line: string) => void;
  /** Called before every request is sent and before it takes effect; it may halt the store. */
  readonly onCall: () => void;
}

/** How long a request that gets no answer is waited for. */
const TIMEOUT_MS = 15_000;

interface UnderWay {
  readonly what: string;
  /** Null once it has taken effect. */
  effect: (() => Promise<unknown>) | null;
}

export class SimStore implements ObjectStore {
  readonly #options: SimStoreOptions;
  readonly #underWay = new Set<UnderWay>();
  #dead = false;
  #weather: Weather = 'fair';
  /** Whether it was ever anything but fair, since the last call of `forgive`. */
  #stormy = false;

  constructor(options: SimStoreOptions) {
    this.#options = options;
  }

  get description(): string {
    return 'simulated';
  }

  get bucket(): string {
    return this.#options.inner.bucket;
  }

  get weather(): Weather {
    return this.#weather;
  }

  set weather(weather: Weather) {
    if (weather !== this.#weather) this.#options.trace(`store: ${weather}`);
    this.#weather = weather;
    this.#stormy ||= weather !== 'fair';
  }

  /** Whether a request that failed may blame the store. */
  get isToBlame(): boolean {
    return this.#stormy;
  }

  get requestsUnderWay(): number {
    return this.#underWay.size;
  }

  /** Ends this life. What was under way arrives at the bucket now, or never. */
  halt(): void {
    if (this.#dead) return;
    this.#dead = true;
    for (const { what, effect } of this.#underWay) {
      const arrives = effect !== null && this.#options.random.chance(0.5);
      this.#options.trace(`store: ${what} was under way${arrives ? ' and arrives' : ''}`);
      // In memory it happens at once; whether it succeeds is nobody's business any more.
      if (arrives) effect().catch(() => {});
    }
    this.#underWay.clear();
  }

  get(key: string, options?: GetOptions): Promise<ObjectData | null> {
    return this.#request(`get ${key}`, options?.signal, () => this.#options.inner.get(key, options));
  }

  head(key: string, options?: RequestOptions): Promise<ObjectInfo | null> {
    return this.#request(`head ${key}`, options?.signal, () => this.#options.inner.head(key, options));
  }

  put(key: string, body: Buffer, options?: PutOptions): Promise<PutResult> {
    const copy = Buffer.from(body);
    return this.#request(`put ${key}`, options?.signal, async () => {
      if (!copy.equals(body)) throw new Error(`the body of ${key} was changed while it was being sent`);
      return this.#options.inner.put(key, copy, options);
    });
  }

  delete(keys: readonly string[], options?: RequestOptions): Promise<void> {
    return this.#request(
      `delete ${keys.join(' ')}`,
      options?.signal,
      () => this.#options.inner.delete(keys, options),
      () => this.#options.inner.delete(keys.filter(() => this.#options.random.chance(0.5))),
    );
  }

  async *list(prefix: string, options: ListOptions = {}): AsyncGenerator<readonly ListedObject[]> {
    const { inner, random } = this.#options;
    const pageKeys = random.chance(0.5) ? 1000 : 1 + random.below(8);
    let { startAfter } = options;
    for (;;) {
      const page = await this.#request(`list ${prefix} after ${startAfter}`, options.signal, async () => {
        const after = startAfter === undefined ? {} : { startAfter };
        for await (const keys of inner.list(prefix, after)) return keys.slice(0, pageKeys);
        return [];
      });
      if (page.length > 0) yield page;
      if (page.length < pageKeys) return;
      startAfter = page.at(-1)?.key;
    }
  }

  async close(): Promise<void> {}

  /** `part`: a part of the effect, which may be all that happens where it fails. */
  async #request<T>(
    what: string,
    signal: AbortSignal | undefined,
    effect: () => Promise<T>,
    part: () => Promise<unknown> = async () => {},
  ): Promise<T> {
    const { random, trace, onCall } = this.#options;
    await this.#unlessDead();
    onCall();
    await this.#unlessDead();
    trace(`store: ${what}`);
    const underWay: UnderWay = { what, effect };
    this.#underWay.add(underWay);
    try {
      await this.#travel(signal);
      onCall();
      await this.#unlessDead();
      const { weather } = this;
      const fails = weather === 'out' || weather === 'denied' || (weather === 'flaky' && random.chance(0.25));
      const tookEffect = !fails || (weather !== 'denied' && random.chance(weather === 'out' ? 0.1 : 0.4));
      underWay.effect = null;
      if (!tookEffect) {
        if (random.chance(0.3) && weather !== 'denied') await part();
        throw await this.#failure(what, weather, false);
      }
      const value = await effect();
      await this.#travel(signal);
      if (fails) throw await this.#failure(what, weather, true);
      trace(`store: ${what} ok`);
      return value;
    } catch (error) {
      await this.#unlessDead();
      trace(`store: ${what}: ${isStorageError(error) ? error.code : String(error)}`);
      throw error;
    } finally {
      this.#underWay.delete(underWay);
    }
  }

  async #travel(signal: AbortSignal | undefined): Promise<void> {
    const { clock, random, latencyMs } = this.#options;
    // Now and then one takes a hundred times as long as the others.
    const ms = random.next() * latencyMs * (random.chance(0.03) ? 100 : 1);
    await clock.sleep(ms, signal);
    await this.#unlessDead();
  }

  async #failure(what: string, weather: Weather, tookEffect: boolean): Promise<StorageError> {
    const { clock, random } = this.#options;
    const told = `${what}: the simulation has it fail${tookEffect ? ' after its effect' : ''}`;
    if (weather === 'denied') return new StorageError('ACCESS_DENIED', told);
    if (random.chance(weather === 'out' ? 0.3 : 0.1)) {
      await clock.sleep(TIMEOUT_MS);
      await this.#unlessDead();
      return new StorageError('TIMEOUT', told);
    }
    const retryAfter = !tookEffect && random.chance(0.2) ? { retryAfterMs: 1000 * random.below(5) } : {};
    return new StorageError('UNAVAILABLE', told, retryAfter);
  }

  /** To the dead nothing is answered. */
  async #unlessDead(): Promise<void> {
    if (this.#dead) await new Promise<never>(() => {});
  }
}
