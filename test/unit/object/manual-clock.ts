/** A clock that moves only when told to, or when everybody sleeps. */
import type { Clock } from '../../../src/lib/clock.ts';
import { StorageError } from '../../../src/lib/errors.ts';

interface Sleeper {
  readonly atMs: number;
  readonly wake: () => void;
}

export class ManualClock implements Clock {
  /** The length of every sleep asked for. */
  readonly sleeps: number[] = [];
  /** Where set, a sleep moves the clock itself and ends at once. */
  readonly #automatic: boolean;
  readonly #sleepers = new Set<Sleeper>();
  #nowMs = 0;

  constructor(options: { automatic: boolean } = { automatic: false }) {
    this.#automatic = options.automatic;
  }

  now(): number {
    return this.#nowMs;
  }

  date(): Date {
    return new Date(this.#nowMs);
  }

  sleep(ms: number, signal?: AbortSignal): Promise<void> {
    this.sleeps.push(ms);
    if (signal?.aborted) return Promise.reject(new StorageError('CANCELLED', 'the wait was cancelled'));
    if (this.#automatic) {
      this.#nowMs += ms;
      return Promise.resolve();
    }
    return new Promise((resolve, reject) => {
      const sleeper = { atMs: this.#nowMs + ms, wake: resolve };
      this.#sleepers.add(sleeper);
      signal?.addEventListener('abort', () => {
        this.#sleepers.delete(sleeper);
        reject(new StorageError('CANCELLED', 'the wait was cancelled'));
      });
    });
  }

  /** Moves on, wakes those whose time has come, and lets them run. */
  async advance(ms: number): Promise<void> {
    this.#nowMs += ms;
    for (const sleeper of this.#sleepers) {
      if (sleeper.atMs > this.#nowMs) continue;
      this.#sleepers.delete(sleeper);
      sleeper.wake();
    }
    await new Promise((resolve) => setImmediate(resolve));
  }
}
