/** Time as the storage engine sees it, so that tests and the simulation can run it by hand. */
import { setTimeout as delay } from 'node:timers/promises';
import { StorageError } from './errors.ts';

export interface Clock {
  /** Monotonic milliseconds: differences mean something, the value itself does not. */
  now(): number;
  /** Wall-clock time, for stamps that people and other machines read. */
  date(): Date;
  /** Resolves after `ms`; rejects with CANCELLED as soon as `signal` aborts. */
  sleep(ms: number, signal?: AbortSignal): Promise<void>;
}

/** The longest a timer of Node takes; what is more it cuts down to 1 ms. */
const TIMER_MAX_MS = 2 ** 31 - 1;

export class SystemClock implements Clock {
  now(): number {
    return performance.now();
  }

  date(): Date {
    return new Date();
  }

  async sleep(ms: number, signal?: AbortSignal): Promise<void> {
    try {
      for (let leftMs = ms; ; leftMs -= TIMER_MAX_MS) {
        await delay(Math.min(leftMs, TIMER_MAX_MS), undefined, signal === undefined ? {} : { signal });
        if (leftMs <= TIMER_MAX_MS) return;
      }
    } catch (cause) {
      throw new StorageError('CANCELLED', 'the wait was cancelled', { cause });
    }
  }
}
