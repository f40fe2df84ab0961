/** What is counted of requests of several kinds, in arrays of fixed size: a request makes no object and looks nothing up. */
import { LatencyTable } from './latency-table.ts';

/**
 * Asking for the time costs more than all the rest of what is done here, so that of reads and writes only one in so many is
 * timed. No power of two, which patterns of requests are often made of.
 */
export const TIMED_INTERVAL = 7;
const NOT_TIMED = -1;
/** The first two rows, reads and writes, are those that come in such numbers. */
const SAMPLED_ROWS = 2;

/** Of one command; only those that came at all. */
export interface TallySnapshot<Command extends string, Result extends string> {
  readonly command: Command;
  /** How many ended how; those that none ended with are left out. */
  readonly results: readonly { readonly result: Result; readonly count: number }[];
  readonly bytes: number;
  /** Of those that were timed, by bucket: see LatencyTable. */
  readonly latencyCounts: readonly number[];
  readonly latencySumSeconds: number;
}

/** Commands and results go by their index in the names. */
export class RequestTally<Command extends string, Result extends string> {
  readonly #commands: readonly Command[];
  readonly #results: readonly Result[];
  readonly #counts: Float64Array;
  readonly #bytes: Float64Array;
  readonly #latencies: LatencyTable;
  /** How many come before one that is timed. */
  readonly #untimed = new Uint8Array(SAMPLED_ROWS);

  /** `commands`: reads and writes first. */
  constructor(commands: readonly Command[], results: readonly Result[]) {
    this.#commands = commands;
    this.#results = results;
    this.#counts = new Float64Array(commands.length * results.length);
    this.#bytes = new Float64Array(commands.length);
    this.#latencies = new LatencyTable(commands.length);
  }

  /** When a request begins: to be handed to `ended`. */
  start(command: number): number {
    if (command < SAMPLED_ROWS) {
      const untimed = this.#untimed[command] ?? 0;
      this.#untimed[command] = untimed === 0 ? TIMED_INTERVAL - 1 : untimed - 1;
      if (untimed > 0) return NOT_TIMED;
    }
    return performance.now();
  }

  ended(command: number, result: number, startedMs: number): void {
    this.count(command, result);
    if (startedMs !== NOT_TIMED) this.#latencies.record(command, performance.now() - startedMs);
  }

  /** One that has no latency. */
  count(command: number, result: number): void {
    const at = command * this.#results.length + result;
    this.#counts[at] = (this.#counts[at] ?? 0) + 1;
  }

  addBytes(command: number, bytes: number): void {
    this.#bytes[command] = (this.#bytes[command] ?? 0) + bytes;
  }

  snapshot(): TallySnapshot<Command, Result>[] {
    return this.#commands.flatMap((command, row) => {
      const results = this.#results
        .map((result, index) => ({ result, count: this.#counts[row * this.#results.length + index] ?? 0 }))
        .filter(({ count }) => count > 0);
      if (results.length === 0) return [];
      const bytes = this.#bytes[row] ?? 0;
      const latencyCounts = this.#latencies.counts(row);
      return [{ command, results, bytes, latencyCounts, latencySumSeconds: this.#latencies.sumSeconds(row) }];
    });
  }
}
