/** What is counted of the requests for an export. */
import { RequestTally, type TallySnapshot } from '../lib/request-tally.ts';
import { NbdErrno } from './constants.ts';

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
const OK = 0;
const ABANDONED = 1;
const FIRST_ERRNO = 2;

export type RequestCommand = (typeof COMMAND_NAMES)[number];
export type RequestResult = (typeof RESULT_NAMES)[number];

/** `bytes`: what those that succeeded were about: payload, or the range that was zeroed, trimmed or asked about. */
export type CommandSnapshot = TallySnapshot<RequestCommand, RequestResult>;

export class RequestStats {
  readonly #tally = new RequestTally(COMMAND_NAMES, RESULT_NAMES);

  /** When a request begins that the device is asked: to be handed over when it has ended. */
  start(command: number): number {
    return this.#tally.start(command);
  }

  succeeded(command: number, bytes: number, startedMs: number): void {
    const row = rowOf(command);
    this.#tally.addBytes(row, bytes);
    this.#tally.ended(row, OK, startedMs);
  }

  failed(command: number, errno: NbdErrno, startedMs: number): void {
    this.#tally.ended(rowOf(command), resultOf(errno), startedMs);
  }

  /** It was turned down without asking the device, and so has no latency. */
  refused(command: number, errno: NbdErrno): void {
    this.#tally.count(rowOf(command), resultOf(errno));
  }

  abandoned(command: number, startedMs: number): void {
    this.#tally.ended(rowOf(command), ABANDONED, startedMs);
  }

  snapshot(): CommandSnapshot[] {
    return this.#tally.snapshot();
  }
}

function rowOf(command: number): number {
  return Math.min(command, OTHER);
}

function resultOf(errno: NbdErrno): number {
  return FIRST_ERRNO + ERRNO_NAMES.findIndex((name) => NbdErrno[name] === errno);
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
