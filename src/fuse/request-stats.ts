/** What is counted of the requests for a file's bytes, in arrays of fixed size: a request makes no object and looks nothing up. */
import { LatencyTable } from '../lib/latency-table.ts';
import { Errno } from './constants.ts';

/** By row. `flush`: fsync, fdatasync, and each closing. `zero`: fallocate. `seek`: SEEK_DATA and SEEK_HOLE. */
export const FILE_COMMAND_NAMES = ['read', 'write', 'flush', 'zero', 'seek'] as const;

export const FileCommand = { READ: 0, WRITE: 1, FLUSH: 2, ZERO: 3, SEEK: 4 } as const;

export type FileCommand = (typeof FileCommand)[keyof typeof FileCommand];

const ERRNO_NAMES = Object.keys(Errno) as (keyof typeof Errno)[];
const RESULT_NAMES = ['ok', ...ERRNO_NAMES] as const;
const RESULTS = RESULT_NAMES.length;

/** Of reads and writes one in so many is timed, as asking for the time is dear; no power of two, which patterns are often made of. */
export const TIMED_INTERVAL = 7;
const NOT_TIMED = -1;

/** Of one command; only those that came at all. */
export interface FileCommandSnapshot {
  readonly command: (typeof FILE_COMMAND_NAMES)[number];
  /** How many ended how; those that none ended with are left out. */
  readonly results: readonly { readonly result: (typeof RESULT_NAMES)[number]; readonly count: number }[];
  /** What those that succeeded have read, written or zeroed. */
  readonly bytes: number;
  /** Of those that were timed, by bucket: see LatencyTable. */
  readonly latencyCounts: readonly number[];
  readonly latencySumSeconds: number;
}

export class FileStats {
  readonly #results = new Float64Array(FILE_COMMAND_NAMES.length * RESULTS);
  readonly #bytes = new Float64Array(FILE_COMMAND_NAMES.length);
  readonly #latencies = new LatencyTable(FILE_COMMAND_NAMES.length);
  /** How many reads and writes come before one that is timed. */
  readonly #untimed = new Uint8Array(2);

  /** When a request begins: to be handed over when it has ended. */
  start(command: FileCommand): number {
    if (command <= FileCommand.WRITE) {
      const untimed = this.#untimed[command] ?? 0;
      this.#untimed[command] = untimed === 0 ? TIMED_INTERVAL - 1 : untimed - 1;
      if (untimed > 0) return NOT_TIMED;
    }
    return performance.now();
  }

  succeeded(command: FileCommand, bytes: number, startedMs: number): void {
    this.#bytes[command] = (this.#bytes[command] ?? 0) + bytes;
    this.#ended(command, 0, startedMs);
  }

  failed(command: FileCommand, errno: Errno, startedMs: number): void {
    this.#ended(command, 1 + ERRNO_NAMES.findIndex((name) => Errno[name] === errno), startedMs);
  }

  snapshot(): FileCommandSnapshot[] {
    return FILE_COMMAND_NAMES.flatMap((command, row) => {
      const results = RESULT_NAMES.map((result, index) => ({
        result,
        count: this.#results[row * RESULTS + index] ?? 0,
      })).filter(({ count }) => count > 0);
      if (results.length === 0) return [];
      const bytes = this.#bytes[row] ?? 0;
      const latencyCounts = this.#latencies.counts(row);
      return [{ command, results, bytes, latencyCounts, latencySumSeconds: this.#latencies.sumSeconds(row) }];
    });
  }

  #ended(command: FileCommand, result: number, startedMs: number): void {
    const at = command * RESULTS + result;
    this.#results[at] = (this.#results[at] ?? 0) + 1;
    if (startedMs !== NOT_TIMED) this.#latencies.record(command, performance.now() - startedMs);
  }
}
