/** Says that something goes wrong again and again: at once, then no more than once in a while, with how often it did. */
import type { Clock } from '../../lib/clock.ts';
import type { Log, LogFields } from '../../lib/log.ts';

const INTERVAL_MS = 60_000;

export class Complaint {
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #message: string;
  #nextAtMs = -Infinity;
  #untold = 0;

  constructor(clock: Clock, log: Log, message: string) {
    this.#clock = clock;
    this.#log = log;
    this.#message = message;
  }

  add(fields: LogFields): void {
    this.#untold++;
    const now = this.#clock.now();
    if (now < this.#nextAtMs) return;
    this.#log.warn(this.#message, { ...fields, times: this.#untold });
    this.#nextAtMs = now + INTERVAL_MS;
    this.#untold = 0;
  }
}
