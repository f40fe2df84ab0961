/** What is counted of the requests for an export, in arrays of fixed size: a request makes no object and looks nothing up. */
import { LatencyTable } from '../lib/latency-table.ts';
import { Command, NbdErrno } from './constants.ts';

/** By the number of the command; one more for numbers that are no command's. */
const COMMAND_NAMES = [
  'read',
  'write',
  'disc',
  'flush',
  'trim',
  'cache',
  'write_zeroes',
  'block_status',
  'other',
] as const;
const OTHER = COMMAND_NAMES.length - 1;

const ERRNO_NAMES = Object.keys(NbdErrno).filter((name) => name !== 'NONE') as Exclude<keyof typeof NbdErrno, 'NONE'>[];
/** `abandoned`: it completed after its client had gone. */
const RESULT_NAMES = ['ok', 'abandoned', ...ERRNO_NAMES] as const;
const RESULTS = RESULT_NAMES.length;
const OK = 0;
const ABANDONED = 1;
const FIRST_ERRNO = 2;

/**
 * Asking for the time costs more than all the rest of what is done here, so that of reads and writes only one in so many is
 * timed. No power of two, which patterns of requests are often made of.
 */
export const TIMED_INTERVAL = 7;
const NOT_TIMED = -1;

export type RequestCommand = (typeof COMMAND_NAMES)[number];
export type RequestResult = (typeof RESULT_NAMES)[number];

/** Of one command; only those that came at all. */
export interface CommandSnapshot {
  readonly command: RequestCommand;
  /** How many ended how; those that none ended with are left out. */
  readonly results: readonly { readonly result: RequestResult; readonly count: number }[];
  /** What those that succeeded were about: payload, or the range that was zeroed, trimmed or asked about. */
  readonly bytes: number;
  /** Of those that were timed, by bucket: see LatencyTable. */
  readonly latencyCounts: readonly number[];
  readonly latencySumSeconds: number;
}

export class RequestStats {
  readonly #results = new Float64Array(COMMAND_NAMES.length * RESULTS);
  readonly #bytes = new Float64Array(COMMAND_NAMES.length);
  readonly #latencies = new LatencyTable(COMMAND_NAMES.length);
  /** How many reads and writes come before one that is timed. */
  readonly #untimed = new Uint8Array(2);

  /** When a request begins that the device is asked: to be handed over when it has ended. */
  start(command: number): number {
    if (command <= Command.WRITE) {
      const untimed = this.#untimed[command] ?? 0;
      this.#untimed[command] = untimed === 0 ? TIMED_INTERVAL - 1 : untimed - 1;
      if (untimed > 0) return NOT_TIMED;
    }
    return performance.now();
  }

  succeeded(command: number, bytes: number, startedMs: number): void {
    const row = command < OTHER ? command : OTHER;
    this.#count(row, OK);
    this.#bytes[row] = (this.#bytes[row] ?? 0) + bytes;
    if (startedMs !== NOT_TIMED) this.#latencies.record(row, performance.now() - startedMs);
  }

  failed(command: number, errno: NbdErrno, startedMs: number): void {
    this.refused(command, errno);
    if (startedMs !== NOT_TIMED) this.#latencies.record(Math.min(command, OTHER), performance.now() - startedMs);
  }

  /** It was turned down without asking the device, and so has no latency. */
  refused(command: number, errno: NbdErrno): void {
    const index = ERRNO_NAMES.findIndex((name) => NbdErrno[name] === errno);
    this.#count(Math.min(command, OTHER), FIRST_ERRNO + index);
  }

  abandoned(command: number, startedMs: number): void {
    const row = Math.min(command, OTHER);
    this.#count(row, ABANDONED);
    if (startedMs !== NOT_TIMED) this.#latencies.record(row, performance.now() - startedMs);
  }

  snapshot(): CommandSnapshot[] {
    return COMMAND_NAMES.flatMap((command, row) => {
      const results = RESULT_NAMES.map((result, index) => ({
        result,
        count: this.#results[row * RESULTS + index] ?? 0,
      }));
      const seen = results.filter(({ count }) => count > 0);
      if (seen.length === 0) return [];
      return [
        {
          command,
          results: seen,
          bytes: this.#bytes[row] ?? 0,
          latencyCounts: this.#latencies.counts(row),
          latencySumSeconds: this.#latencies.sumSeconds(row),
        },
      ];
    });
  }

  #count(row: number, result: number): void {
    const at = row * RESULTS + result;
    this.#results[at] = (this.#results[at] ?? 0) + 1;
  }
}

/** Of a server: by the name of the export, as connections come and go. */
export class RequestStatsTable {
  readonly #byExport = new Map<string, RequestStats>();

  /** To be asked once for each connection. */
  of(exportName: string): RequestStats {
    let stats = this.#byExport.get(exportName);
    if (stats === undefined) {
      stats = new RequestStats();
      this.#byExport.set(exportName, stats);
    }
    return stats;
  }

  snapshot(): { readonly export: string; readonly commands: readonly CommandSnapshot[] }[] {
    return [...this.#byExport].map(([name, stats]) => ({ export: name, commands: stats.snapshot() }));
  }
}
