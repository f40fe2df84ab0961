/** Runs one request under its time limit and its caller's signal, whichever ends it first. */
import { StorageError } from '../../lib/errors.ts';

/**
 * Settles at the latest `timeoutMs` after the call, also where the work does not listen to its signal: credentials may
 * be waiting for a metadata service. Rejects with TIMEOUT or CANCELLED then, and else as the work does.
 */
export async function attempt<T>(
  what: string,
  timeoutMs: number,
  signal: AbortSignal | undefined,
  work: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const controller = new AbortController();
  const { promise: ended, reject } = Promise.withResolvers<never>();
  const end = (error: StorageError): void => {
    reject(error);
    controller.abort();
  };
  const onAbort = (): void =>
    end(new StorageError('CANCELLED', `${what} was cancelled`, { cause: signal?.reason as unknown }));
  const timer = setTimeout(
    () => end(new StorageError('TIMEOUT', `${what} failed: no answer within ${timeoutMs} ms (store.requestTimeout)`)),
    timeoutMs,
  );
  signal?.addEventListener('abort', onAbort, { once: true });
  try {
    return await Promise.race([work(controller.signal), ended]);
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener('abort', onAbort);
  }
}
