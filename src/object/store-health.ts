/** Whether a store answers, over all the calls made to it: told to the operator at its turning points only. */
import type { Clock } from '../lib/clock.ts';
import { describeError, type ErrorCode, isStorageError, type StorageError } from '../lib/errors.ts';
import type { Log } from '../lib/log.ts';

export interface StoreHealthSnapshot {
  /** `failing`: many attempts in a row, or none but failures for a while or from the first request on, or one that trying again cannot help. */
  readonly state: 'ok' | 'failing';
  readonly consecutiveFailures: number;
  readonly failingSince: Date | null;
  /** The last failure, also where the store has answered since. */
  readonly lastError: { readonly code: ErrorCode; readonly message: string; readonly at: Date } | null;
}

/** So many failures in a row are an outage; fewer are what every store has now and then. */
const OUTAGE_FAILURES = 5;
/** And so are failures, however few, between which nothing has succeeded for so long. */
const OUTAGE_MS = 10_000;
/** An outage is told again after this long, and another one not sooner; single failures not more often than this. */
const REMIND_MS = 60_000;
/** What the request itself is to blame for: the store has answered. */
const ANSWERS: readonly ErrorCode[] = ['CONFLICT', 'INVALID', 'CORRUPT', 'UNSUPPORTED'];

export class StoreHealth {
  readonly #clock: Clock;
  readonly #log: Log;
  #failing = false;
  /** Whether it has ever answered: of one that has not, a single failure is all that is known. */
  #answered = false;
  #failingSinceMs = 0;
  #consecutiveFailures = 0;
  #failingSince: Date | null = null;
  #lastError: StoreHealthSnapshot['lastError'] = null;
  /** What the operator has been told of that has not ended, or null. */
  #toldEvent: string | null = null;
  /** Of each event by itself: that credentials are refused is news also right after an outage. */
  readonly #eventToldAtMs = new Map<string, number>();
  #failureToldAtMs = Number.NEGATIVE_INFINITY;

  constructor(clock: Clock, log: Log) {
    this.#clock = clock;
    this.#log = log;
  }

  succeeded(): void {
    this.#answered = true;
    if (this.#consecutiveFailures === 0) return;
    if (this.#toldEvent !== null) {
      const fields = { failures: this.#consecutiveFailures, since: this.#failingSince, event: 'outage-ended' };
      this.#log.info('the store answers again', fields);
    }
    this.#toldEvent = null;
    this.#failing = false;
    this.#consecutiveFailures = 0;
    this.#failingSince = null;
  }

  /**
   * What was cancelled tells nothing of the store, unless whoever asked had given it a time that is over: where the store swallows
   * requests, those for leases end so, and by then others may not even be sent.
   */
  failed(attempt: unknown): void {
    const error =
      isStorageError(attempt, 'CANCELLED') && isStorageError(attempt.cause, 'TIMEOUT') ? attempt.cause : attempt;
    if (!isStorageError(error) || error.code === 'CANCELLED') return;
    if (ANSWERS.includes(error.code)) {
      this.succeeded();
      return;
    }
    const at = this.#clock.date();
    if (this.#consecutiveFailures === 0) this.#failingSinceMs = this.#clock.now();
    this.#consecutiveFailures += 1;
    this.#failingSince ??= at;
    const message = describeError(attempt);
    this.#lastError = { code: error.code, message, at };
    const lasts = this.#clock.now() - this.#failingSinceMs >= OUTAGE_MS;
    if (!error.retryable || lasts || this.#consecutiveFailures >= OUTAGE_FAILURES) this.#failing = true;
    this.#tell(error, message);
  }

  snapshot(): StoreHealthSnapshot {
    return {
      state: this.#failing || (!this.#answered && this.#consecutiveFailures > 0) ? 'failing' : 'ok',
      consecutiveFailures: this.#consecutiveFailures,
      failingSince: this.#failingSince,
      lastError: this.#lastError,
    };
  }

  /** Both kinds of line are rationed, so that a store that comes and goes does not fill the log. */
  #tell(error: StorageError, message: string): void {
    const now = this.#clock.now();
    const fields = { code: error.code, error: message, failures: this.#consecutiveFailures };
    if (!this.#failing) {
      if (now - this.#failureToldAtMs < REMIND_MS) return;
      this.#failureToldAtMs = now;
      this.#log.info('a request to the store failed and is tried again', fields);
      return;
    }
    const event = error.code === 'ACCESS_DENIED' ? 'credentials-refused' : 'outage-began';
    if (now - (this.#eventToldAtMs.get(event) ?? Number.NEGATIVE_INFINITY) < REMIND_MS) return;
    // Another kind of trouble is news; the same one is only told again.
    const news = this.#toldEvent === event ? fields : { ...fields, event };
    this.#eventToldAtMs.set(event, now);
    this.#toldEvent = event;
    if (error.retryable) this.#log.warn('the store does not answer; requests wait and are tried again', news);
    else this.#log.error('the store refuses what it is asked', news);
  }
}
