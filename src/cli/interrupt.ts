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
  /** From now on SIGHUP calls `hangup` and counts no more. */
  onHangup(hangup: () => void): void;
  /** Back to what signals do by themselves. */
  release(): void;
}

export function listenForInterrupt(signals: SignalSource): Interrupt {
  const first = new AbortController();
  const second = new AbortController();
  const third = Promise.withResolvers<never>();
  // Nobody may be waiting when it rejects.
  third.promise.catch(() => undefined);
  let heedHangup: (() => void) | undefined;
  const handlers = SIGNALS.map((signal) => {
    const handler = () => {
      if (signal === 'SIGHUP' && heedHangup !== undefined) {
        heedHangup();
        return;
      }
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
    onHangup(hangup) {
      heedHangup = hangup;
    },
    release() {
      for (const [signal, handler] of handlers) signals.off(signal, handler);
    },
  };
}
