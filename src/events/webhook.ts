/** Sends events to somebody's HTTP server, one after another, with patience; never in anybody's way. */
import type { Clock } from '../lib/clock.ts';
import { withDeadline } from '../lib/deadline.ts';
import { describeError, isStorageError, StorageError } from '../lib/errors.ts';
import type { Log } from '../lib/log.ts';
import type { ApplianceEvent } from './event.ts';

/** Waiting to be sent. When more come the oldest goes, and the next one that is sent says how many did. */
const QUEUE_MAX = 100;
const ATTEMPT_TIMEOUT_MS = 10_000;
const PAUSE_MIN_MS = 1_000;
const PAUSE_MAX_MS = 60_000;
/** An event that could not be told for so long is given up. */
const PATIENCE_MS = 3_600_000;

export interface WebhookOptions {
  /** May hold a secret: it gets into no log. */
  readonly url: string;
  /** What every message says of who sends it. */
  readonly appliance: { readonly host: string; readonly version: string };
  readonly clock: Clock;
  readonly log: Log;
  readonly fetch?: typeof fetch;
  readonly random?: () => number;
}

export interface WebhookStatus {
  readonly sent: number;
  /** Never sent: too many waited, the other end refused them, or it did not answer for too long. */
  readonly dropped: number;
  readonly waiting: number;
}

/** What is sent, as JSON. */
export interface WebhookMessage {
  readonly source: 'bucketdisk';
  readonly host: string;
  readonly version: string;
  /** The event in a line, for services that show a field of that name. */
  readonly text: string;
  readonly event: ApplianceEvent;
  /** Events before this one that could not be sent, since the last one that was. */
  readonly dropped: number;
}

export class Webhook {
  readonly #options: WebhookOptions;
  readonly #queue: ApplianceEvent[] = [];
  readonly #stop = new AbortController();
  #running: Promise<void> | null = null;
  #sent = 0;
  #dropped = 0;
  /** Of those, the ones that no message has told of. */
  #untold = 0;
  #failing = false;

  constructor(options: WebhookOptions) {
    this.#options = options;
  }

  get status(): WebhookStatus {
    return { sent: this.#sent, dropped: this.#dropped, waiting: this.#queue.length };
  }

  /** Takes the event and returns at once. */
  send(event: ApplianceEvent): void {
    if (this.#stop.signal.aborted) return;
    this.#queue.push(event);
    if (this.#queue.length > QUEUE_MAX) {
      this.#queue.shift();
      this.#drop();
    }
    this.#running ??= this.#run().finally(() => {
      this.#running = null;
    });
  }

  /** Goes on until everything is sent or `deadlineMs` have passed; then nothing is sent any more. */
  async close(deadlineMs: number): Promise<void> {
    const { clock } = this.#options;
    const stop = (): void => this.#stop.abort();
    await withDeadline(clock, deadlineMs, async (over) => {
      over.addEventListener('abort', stop, { once: true });
      await this.#running;
    });
    stop();
  }

  async #run(): Promise<void> {
    // In a turn of its own: whoever tells an event does not wait for any of this.
    await Promise.resolve();
    while (!this.#stop.signal.aborted) {
      const event = this.#queue[0];
      if (event === undefined) return;
      const told = this.#untold;
      const sent = await this.#deliver(event, told);
      if (this.#stop.signal.aborted) return;
      // It may have gone meanwhile, as too many came.
      if (this.#queue[0] === event) {
        this.#queue.shift();
        if (!sent) this.#drop();
      }
      if (!sent) continue;
      this.#sent++;
      this.#untold -= told;
      if (this.#failing) this.#options.log.info('events.webhook takes events again');
      this.#failing = false;
    }
  }

  /** Tries until the other end has taken it. False where it never will. */
  async #deliver(event: ApplianceEvent, dropped: number): Promise<boolean> {
    const { clock, random = Math.random } = this.#options;
    const { signal } = this.#stop;
    const startedAtMs = clock.now();
    for (let pauseMs = PAUSE_MIN_MS; ; pauseMs = Math.min(pauseMs * 2, PAUSE_MAX_MS)) {
      try {
        await withDeadline(clock, ATTEMPT_TIMEOUT_MS, (until) => this.#post(event, dropped, until), signal);
        return true;
      } catch (error) {
        if (signal.aborted) return false;
        this.#tell(error);
        const isRefused = isStorageError(error) && !error.retryable;
        if (isRefused || clock.now() - startedAtMs > PATIENCE_MS) return false;
        const waitMs = Math.max(pauseMs * (0.5 + random() / 2), retryAfterOf(error));
        await clock.sleep(waitMs, signal).catch(() => {});
        if (signal.aborted) return false;
      }
    }
  }

  async #post(event: ApplianceEvent, dropped: number, signal: AbortSignal): Promise<void> {
    const { url, appliance, fetch: send = fetch } = this.#options;
    const of = event.volume === null ? '' : ` ${event.volume}:`;
    const text = `bucketdisk on ${appliance.host}:${of} ${event.message}`;
    const message: WebhookMessage = { source: 'bucketdisk', ...appliance, text, event, dropped };
    const response = await send(url, {
      method: 'POST',
      headers: { 'content-type': 'application/json', 'user-agent': `bucketdisk/${appliance.version}` },
      body: JSON.stringify(message),
      // Whoever answers may not choose who else gets to see it.
      redirect: 'manual',
      signal,
    });
    // What it answers is of no interest, however long.
    await response.body?.cancel();
    if (response.ok) return;
    const retryable = [408, 425, 429].includes(response.status) || response.status >= 500;
    const after = Number(response.headers.get('retry-after') ?? '0');
    throw new StorageError('UNAVAILABLE', `it answered ${response.status}`, {
      retryable,
      ...(Number.isFinite(after) && after > 0 ? { retryAfterMs: after * 1000 } : {}),
    });
  }

  /** Once for each episode. */
  #tell(error: unknown): void {
    if (this.#failing) return;
    this.#failing = true;
    const { log, url } = this.#options;
    const reason = describeError(error).replaceAll(url, 'events.webhook');
    log.warn('events.webhook cannot be reached or refuses events', { error: reason });
  }

  #drop(): void {
    this.#dropped++;
    this.#untold++;
  }
}

function retryAfterOf(error: unknown): number {
  return Math.min(isStorageError(error) ? (error.retryAfterMs ?? 0) : 0, PAUSE_MAX_MS);
}
