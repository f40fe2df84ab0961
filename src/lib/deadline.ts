/** Giving up on something after a time. */
import type { Clock } from './clock.ts';
import { StorageError } from './errors.ts';

/** Runs `work` with a signal that aborts after `ms`, for the reason TIMEOUT, or as soon as `signal` does, for the reason of that. */
export async function withDeadline<T>(
  clock: Clock,
  ms: number,
  work: (signal: AbortSignal) => Promise<T>,
  signal?: AbortSignal,
): Promise<T> {
  const timer = new AbortController();
  const over = new AbortController();
  clock.sleep(ms, timer.signal).then(
    () => over.abort(new StorageError('TIMEOUT', `no answer within ${ms} ms`)),
    () => {},
  );
  try {
    return await work(signal === undefined ? over.signal : AbortSignal.any([over.signal, signal]));
  } finally {
    timer.abort();
  }
}

/** Waits for `work`, or for `signal`, whichever is first; false where it was the signal. */
export async function raceAbort(work: Promise<unknown>, signal: AbortSignal): Promise<boolean> {
  if (signal.aborted) {
    work.catch(() => {});
    return false;
  }
  const { promise: aborted, resolve } = Promise.withResolvers<false>();
  const onAbort = (): void => resolve(false);
  signal.addEventListener('abort', onAbort, { once: true });
  try {
    return await Promise.race([work.then(() => true as const), aborted]);
  } finally {
    signal.removeEventListener('abort', onAbort);
  }
}

/** Waits for `work`; CANCELLED, "gave up waiting for `what`", where `signal` aborts first: the work may go on. */
export async function waitOrGiveUp(work: Promise<unknown>, signal: AbortSignal, what: string): Promise<void> {
  if (await raceAbort(work, signal)) return;
  throw new StorageError('CANCELLED', `gave up waiting for ${what}`, { cause: signal.reason });
}
