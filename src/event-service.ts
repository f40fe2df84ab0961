/** The events of an appliance: kept for its status, and sent to its webhook where there is one. */
import { hostname } from 'node:os';
import type { Settings } from './config/settings.ts';
import { EventLog } from './events/event-log.ts';
import { type LogFullness, LogWatch } from './events/log-watch.ts';
import { Webhook, type WebhookStatus } from './events/webhook.ts';
import type { Clock } from './lib/clock.ts';
import type { Logger } from './telemetry/logger.ts';

/** How often it is looked at how full the logs are. */
const WATCH_EVERY_MS = 1_000;
/** What stopping waits for the webhook. */
const CLOSE_DEADLINE_MS = 2_000;

export interface EventServiceOptions {
  readonly settings: Settings['events'];
  /** How full the log of each volume that has one is. */
  readonly logs: () => readonly LogFullness[];
  readonly version: string;
  readonly clock: Clock;
  readonly log: Logger;
}

export class EventService {
  /** For those who want to show events as they come. */
  readonly log = new EventLog();
  readonly #options: EventServiceOptions;
  readonly #webhook: Webhook | null;
  readonly #stop = new AbortController();

  constructor(options: EventServiceOptions) {
    const { settings, version, clock, log } = options;
    this.#options = options;
    log.tap((entry) => this.log.note(entry));
    const { webhook: url } = settings;
    this.#webhook = url === null ? null : new Webhook({ url, appliance: { host: hostname(), version }, clock, log });
    if (this.#webhook !== null) this.log.subscribe((event) => this.#webhook?.send(event));
  }

  /** Null where there is none. */
  get webhook(): WebhookStatus | null {
    return this.#webhook?.status ?? null;
  }

  start(): void {
    void this.#watch();
  }

  /** After everything that may be an event has been logged. */
  async close(): Promise<void> {
    this.#stop.abort();
    await this.#webhook?.close(CLOSE_DEADLINE_MS);
  }

  async #watch(): Promise<void> {
    const { clock, log, logs } = this.#options;
    const watch = new LogWatch(log);
    while (!this.#stop.signal.aborted) {
      for (const fullness of logs()) watch.note(fullness);
      await clock.sleep(WATCH_EVERY_MS, this.#stop.signal).catch(() => {});
    }
  }
}
