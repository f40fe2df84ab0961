/** Keeps a scan out of the way: no faster than its rate, and behind whatever clients ask for. */
import type { Clock } from '../lib/clock.ts';
import { StorageError } from '../lib/errors.ts';
import { TokenBucket } from '../lib/token-bucket.ts';

/** How long a step waits for others, so that the scan comes to an end also where they never rest. */
const YIELD_MAX_MS = 2_000;
const YIELD_STEP_MS = 50;
/** What is done at a stretch, without anybody else having a turn. */
const STRETCH_MAX_MS = 5;

export interface PaceOptions {
  /** Bytes a second; null: as fast as it goes. */
  readonly rateBytes: number | null;
  /** Whether others have much to do at present. */
  readonly isBusy: () => boolean;
  readonly clock: Clock;
  readonly signal: AbortSignal;
}

export class Pace {
  readonly #options: PaceOptions;
  readonly #bucket: TokenBucket | null;
  #turnSinceMs: number;

  constructor(options: PaceOptions) {
    this.#options = options;
    const { rateBytes, clock } = options;
    this.#bucket = rateBytes === null ? null : new TokenBucket(clock, rateBytes);
    this.#turnSinceMs = clock.now();
  }

  /** Before the next step: CANCELLED where the scan is to end. */
  async step(): Promise<void> {
    const { signal, clock, isBusy } = this.#options;
    if (signal.aborted) throw new StorageError('CANCELLED', 'the scan was cancelled', { cause: signal.reason });
    await this.#bucket?.settle(signal);
    for (let waitedMs = 0; waitedMs < YIELD_MAX_MS && isBusy(); waitedMs += YIELD_STEP_MS) {
      await clock.sleep(YIELD_STEP_MS, signal);
    }
    if (clock.now() - this.#turnSinceMs < STRETCH_MAX_MS) return;
    await clock.sleep(1, signal);
    this.#turnSinceMs = clock.now();
  }

  /** Bytes that a step has moved: the next one waits for them. */
  charge(bytes: number): void {
    this.#bucket?.charge(bytes);
  }
}
