/** Server-sent events: the same to all who listen, of whom there are so many at most, and none of whom can hold others up. */
import type { ServerResponse } from 'node:http';
import type { Log } from '../lib/log.ts';
import { type HttpAnswer, type HttpStream, plain } from './http-routes.ts';

export interface EventLimits {
  readonly clientsMax: number;
  /** Something is sent at least this often, so that whoever is gone is noticed. */
  readonly heartbeatMs: number;
  /** Who has not taken what was sent for so long is cut off. */
  readonly stuckMs: number;
}

export const DEFAULT_EVENT_LIMITS: EventLimits = { clientsMax: 16, heartbeatMs: 15_000, stuckMs: 30_000 };

/** A browser connects again after this long. */
const RETRY_MS = 2_000;

interface Client {
  readonly response: ServerResponse;
  /** When it was first found with something that it had not taken; null where it has taken everything. */
  stuckSinceMs: number | null;
}

export class EventHub {
  readonly #limits: EventLimits;
  readonly #log: Log;
  readonly #clients = new Set<Client>();
  #heartbeat: NodeJS.Timeout | null = null;

  constructor(log: Log, limits: Partial<EventLimits> = {}) {
    this.#log = log;
    this.#limits = { ...DEFAULT_EVENT_LIMITS, ...limits };
  }

  get clients(): number {
    return this.#clients.size;
  }

  /** The answer to who wants to listen; `first` is what they get to begin with. */
  join(first: string): HttpStream | HttpAnswer {
    if (this.#clients.size >= this.#limits.clientsMax) {
      return plain(503, 'too many listen already', { 'retry-after': '10' });
    }
    return {
      contentType: 'text/event-stream; charset=utf-8',
      open: (response) => {
        const client: Client = { response, stuckSinceMs: null };
        this.#clients.add(client);
        response.once('close', () => this.#leave(client));
        response.write(`retry: ${RETRY_MS}\n${message(first)}`);
        this.#heartbeat ??= setInterval(() => this.#send(':\n\n'), this.#limits.heartbeatMs).unref();
      },
    };
  }

  /** `data` is JSON on one line. Who has not taken what came before does not get it: the next one says as much. */
  publish(data: string): void {
    this.#send(message(data));
  }

  close(): void {
    for (const { response } of this.#clients) response.destroy();
  }

  #send(text: string): void {
    for (const client of this.#clients) {
      const { response } = client;
      if (!response.writableNeedDrain) {
        client.stuckSinceMs = null;
        response.write(text);
        continue;
      }
      const now = performance.now();
      client.stuckSinceMs ??= now;
      if (now - client.stuckSinceMs < this.#limits.stuckMs) continue;
      this.#log.debug('a listener of the status page did not take its events');
      response.destroy();
    }
  }

  #leave(client: Client): void {
    this.#clients.delete(client);
    if (this.#clients.size > 0 || this.#heartbeat === null) return;
    clearInterval(this.#heartbeat);
    this.#heartbeat = null;
  }
}

function message(data: string): string {
  return `data: ${data}\n\n`;
}
