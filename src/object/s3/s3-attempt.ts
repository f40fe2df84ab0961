/** Runs one request under its time limit and its caller's signal, whichever ends it first. */
import { StorageError } from '../../lib/errors.ts';

/**
 * Settles at the latest `timeoutMs` after the call, also where the work does not listen to its signal: credentials may
 * be waiting for a metadata service. Rejects with TIMEOUT or CANCELLED then, and else as the work does; whatever of it is
 * still under way is aborted.
 */
export async function attempt<T>(
  what: string,
  timeoutMs: number,
  signal: AbortSignal | undefined,
  work: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const controller = new AbortController();
  const { promise: ended, reject } = Promise.withResolvers<never>();
  const onAbort = (): void =>
    reject(new StorageError('CANCELLED', `${what} was cancelled`, { cause: signal?.reason as unknown }));
  const timer = setTimeout(
    () =>
      reject(new StorageError('TIMEOUT', `${what} failed: no answer within ${timeoutMs} ms (store.requestTimeout)`)),
    timeoutMs,
  );
  signal?.addEventListener('abort', onAbort, { once: true });
  try {
    return await Promise.race([work(controller.signal), ended]);
  } catch (error) {
    // An answer that was given up half-way must not keep its connection: the pool would run out of them.
    controller.abort();
    throw error;
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener('abort', onAbort);
  }
}
