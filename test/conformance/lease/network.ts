/** A bucket behind a network that delays requests and loses requests and answers, as one process sees it. */
import { StorageError } from '../../../src/lib/errors.ts';
import { checkMayStart } from '../../../src/object/checks.ts';
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
import type { VirtualClock } from '../../support/virtual-clock.ts';
import type { Random } from './random.ts';

export interface Weather {
  /** A request takes this long to arrive, at most, and so does its answer. */
  readonly delayMaxMs: number;
  /** How likely a request for a key takes `strayMaxMs` at most instead. */
  readonly strayChance: (key: string) => number;
  readonly strayMaxMs: number;
  readonly requestLossChance: number;
  readonly answerLossChance: number;
  /** How long a process waits for an answer. */
  readonly timeoutMs: number;
}

/** A PUT as the bucket saw it. */
export interface Arrival {
  readonly key: string;
  readonly body: Buffer;
  readonly sentMs: number;
  readonly arrivedMs: number;
}

/**
 * A request that was sent arrives also where its sender has given it up, stands still or is dead. An answer reaches a
 * process only while it runs.
 */
export class NetworkStore implements ObjectStore {
  readonly description = 'network:';
  readonly bucket: string;
  readonly #inner: ObjectStore;
  readonly #clock: VirtualClock;
  readonly #random: Random;
  readonly #weather: Weather;
  readonly #onPut: (arrival: Arrival) => void;
  /** Requests for keys it says yes to are lost. */
  isCut: (key: string) => boolean = () => false;

  constructor(
    inner: ObjectStore,
    clock: VirtualClock,
    random: Random,
    weather: Weather,
    onPut: (arrival: Arrival) => void = () => {},
  ) {
    this.bucket = inner.bucket;
    this.#inner = inner;
    this.#clock = clock;
    this.#random = random;
    this.#weather = weather;
    this.#onPut = onPut;
  }

  get(key: string, options?: GetOptions): Promise<ObjectData | null> {
    return this.#send(key, options?.signal, () => this.#inner.get(key));
  }

  head(key: string, options?: RequestOptions): Promise<ObjectInfo | null> {
    return this.#send(key, options?.signal, () => this.#inner.head(key));
  }

  async put(key: string, body: Buffer, options: PutOptions = {}): Promise<PutResult> {
    const sentMs = this.#clock.time.nowMs;
    // Asked where it is sent: nobody stops it on its way.
    checkMayStart(options);
    const { signal, mayStart, ...rest } = options;
    return await this.#send(key, signal, async () => {
      const result = await this.#inner.put(key, body, rest);
      this.#onPut({ key, body, sentMs, arrivedMs: this.#clock.time.nowMs });
      return result;
    });
  }

  async delete(keys: readonly string[], options: RequestOptions = {}): Promise<void> {
    checkMayStart(options);
    await this.#send(keys[0] ?? '', options.signal, () => this.#inner.delete(keys));
  }

  list(prefix: string, options?: ListOptions): AsyncIterable<readonly ListedObject[]> {
    return this.#inner.list(prefix, options);
  }

  async close(): Promise<void> {}

  async #send<T>(key: string, signal: AbortSignal | undefined, effect: () => Promise<T>): Promise<T> {
    const { requestLossChance, answerLossChance, timeoutMs } = this.#weather;
    const { time } = this.#clock;
    const outcome = Promise.withResolvers<T>();
    const timeout = (): void => outcome.reject(new StorageError('TIMEOUT', 'no answer'));
    time.setAlarm(timeoutMs, timeout);
    if (!this.isCut(key) && !this.#random.chance(requestLossChance)) {
      const answered = !this.#random.chance(answerLossChance);
      const answerMs = this.#delayMs(key);
      time.setAlarm(this.#delayMs(key), () => {
        const answer = effect();
        answer.catch(() => {});
        if (answered) time.setAlarm(answerMs, () => answer.then(outcome.resolve, outcome.reject));
      });
    }
    const onAbort = (): void => outcome.reject(new StorageError('CANCELLED', 'cancelled', { cause: signal?.reason }));
    signal?.addEventListener('abort', onAbort, { once: true });
    if (signal?.aborted) onAbort();
    try {
      return await outcome.promise;
    } finally {
      signal?.removeEventListener('abort', onAbort);
      await this.#clock.running();
    }
  }

  #delayMs(key: string): number {
    const { delayMaxMs, strayChance, strayMaxMs } = this.#weather;
    return this.#random.next() * (this.#random.chance(strayChance(key)) ? strayMaxMs : delayMaxMs);
  }
}
