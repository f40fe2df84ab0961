/** Counts the signals that ask the process to end. */
import { StorageError } from '../lib/errors.ts';
import type { SignalSource, StopSignal } from './host.ts';

const SIGNALS: readonly StopSignal[] = ['SIGINT', 'SIGTERM', 'SIGHUP'];

/** The first signal aborts `first`, the second one `second`, and the third one rejects `impatient`. */
export interface Interrupt {
  readonly first: AbortSignal;
  readonly second: AbortSignal;
  /** Never resolves. For somebody who does not want to wait for the answer to the earlier ones. */
  readonly impatient: Promise<never>;
  /** Back to what signals do by themselves. */
  release(): void;
}

export function listenForInterrupt(signals: SignalSource): Interrupt {
  const first = new AbortController();
  const second = new AbortController();
  const third = Promise.withResolvers<never>();
  // Nobody may be waiting when it rejects.
  third.promise.catch(() => undefined);
  const handlers = SIGNALS.map((signal) => {
    const handler = () => {
      const reason = new StorageError('CANCELLED', `interrupted by ${signal}`);
      if (!first.signal.aborted) first.abort(reason);
      else if (!second.signal.aborted) second.abort(reason);
      else third.reject(reason);
    };
    signals.on(signal, handler);
    return [signal, handler] as const;
  });
  return {
    first: first.signal,
    second: second.signal,
    impatient: third.promise,
    release() {
      for (const [signal, handler] of handlers) signals.off(signal, handler);
    },
  };
}
