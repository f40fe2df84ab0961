/** What a bucket can do: objects of some sizes, written and read by few and by many at once, in a scratch prefix. */
import { randomBytes } from 'node:crypto';
import type { Clock } from '../lib/clock.ts';
import { withDeadline } from '../lib/deadline.ts';
import { StorageError } from '../lib/errors.ts';
import { deleteListed } from '../object/delete-listed.ts';
import type { ObjectStore } from '../object/object-store.ts';
import { type Latencies, latenciesOf } from './latencies.ts';

export interface StoreFigure extends Latencies {
  readonly operation: 'put' | 'get';
  readonly sizeBytes: number;
  readonly concurrency: number;
  readonly bytesPerSecond: number;
}

export interface StoreBenchOptions {
  /** What the keys begin with: nothing else may. */
  readonly prefix: string;
  readonly sizesBytes: readonly number[];
  readonly concurrencies: readonly number[];
  /** For all of it. */
  readonly durationMs: number;
  readonly clock: Clock;
  readonly signal: AbortSignal;
  /** Called with the share that is done, 0 to 1. */
  readonly onProgress: (share: number) => void;
}

/** So many objects are written by each of those at once, over and over. */
const KEYS_PER_WRITER = 2;
const TIDY_TIMEOUT_MS = 10_000;

/**
 * Rejects as the store does, or with CANCELLED where `signal` aborts. Everything that was written is deleted again, whatever
 * happened; where the store does not answer after an interrupt, the error says what is left.
 */
export async function benchStore(store: ObjectStore, options: StoreBenchOptions): Promise<StoreFigure[]> {
  const { prefix, sizesBytes, concurrencies, durationMs, signal, onProgress } = options;
  const figures: StoreFigure[] = [];
  const rounds = sizesBytes.length * concurrencies.length * 2;
  try {
    for (const sizeBytes of sizesBytes) {
      for (const concurrency of concurrencies) {
        for (const operation of ['put', 'get'] as const) {
          figures.push(
            await measure(store, options, { operation, sizeBytes, concurrency, durationMs: durationMs / rounds }),
          );
          if (signal.aborted) throw new StorageError('CANCELLED', 'interrupted: what was written has been deleted');
          onProgress(figures.length / rounds);
        }
      }
    }
    return figures;
  } finally {
    // Not under the caller's signal: this is what is still done after an interrupt.
    if (signal.aborted) await tidy(store, prefix, options.clock);
    else await deleteListed(store, prefix);
  }
}

/** Who has interrupted it does not wait for a bucket that does not answer. */
async function tidy(store: ObjectStore, prefix: string, clock: Clock): Promise<void> {
  try {
    await withDeadline(clock, TIDY_TIMEOUT_MS, (until) => deleteListed(store, prefix, { signal: until }));
  } catch (cause) {
    const left = `what begins with ${prefix} could not be deleted from ${store.description}: delete it by hand`;
    throw new StorageError('CANCELLED', `interrupted, and ${left}`, { cause });
  }
}

interface Round {
  readonly operation: 'put' | 'get';
  readonly sizeBytes: number;
  readonly concurrency: number;
  readonly durationMs: number;
}

async function measure(
  store: ObjectStore,
  { prefix, clock, signal }: StoreBenchOptions,
  { operation, sizeBytes, concurrency, durationMs }: Round,
): Promise<StoreFigure> {
  const startedAt = clock.now();
  const times: number[] = [];
  const worker = async (number: number): Promise<void> => {
    // What compresses, or is there already, could be stored faster than what is new.
    const body = randomBytes(sizeBytes);
    for (let count = 0; count === 0 || (clock.now() - startedAt < durationMs && !signal.aborted); count++) {
      const key = `${prefix}${sizeBytes}-${number}-${count % KEYS_PER_WRITER}`;
      const begunAt = clock.now();
      if (operation === 'put') {
        body.writeUInt32LE(count, 0);
        await store.put(key, body, { signal });
      } else {
        // Where there was only time for one, that is the one.
        (await store.get(key, { signal })) ?? (await store.get(`${prefix}${sizeBytes}-${number}-0`, { signal }));
      }
      times.push(clock.now() - begunAt);
    }
  };
  const work = await Promise.allSettled(Array.from({ length: concurrency }, (_, number) => worker(number)));
  // All have ended by now: nothing is written any more while the rest is cleaned up.
  for (const result of work) if (result.status === 'rejected') throw result.reason;
  const seconds = Math.max(0.001, (clock.now() - startedAt) / 1000);
  const bytesPerSecond = Math.round((times.length * sizeBytes) / seconds);
  return { operation, sizeBytes, concurrency, bytesPerSecond, ...latenciesOf(times) };
}
