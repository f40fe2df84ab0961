/** What is counted of the requests for a file's bytes. */
import { RequestTally, type TallySnapshot } from '../lib/request-tally.ts';
import { Errno } from './constants.ts';

/** By row. `flush`: fsync, fdatasync, and each closing. `zero`: fallocate. `seek`: SEEK_DATA and SEEK_HOLE. */
export const FILE_COMMAND_NAMES = ['read', 'write', 'flush', 'zero', 'seek'] as const;

export const FileCommand = { READ: 0, WRITE: 1, FLUSH: 2, ZERO: 3, SEEK: 4 } as const;

export type FileCommand = (typeof FileCommand)[keyof typeof FileCommand];

const ERRNO_NAMES = Object.keys(Errno) as (keyof typeof Errno)[];
const RESULT_NAMES = ['ok', ...ERRNO_NAMES] as const;
const OK = 0;
const FIRST_ERRNO = 1;

/** `bytes`: what those that succeeded have read, written or zeroed. */
export type FileCommandSnapshot = TallySnapshot<(typeof FILE_COMMAND_NAMES)[number], (typeof RESULT_NAMES)[number]>;

export class FileStats {
  readonly #tally = new RequestTally(FILE_COMMAND_NAMES, RESULT_NAMES);

  /** When a request begins: to be handed over when it has ended. */
  start(command: FileCommand): number {
    return this.#tally.start(command);
  }

  succeeded(command: FileCommand, bytes: number, startedMs: number): void {
    this.#tally.addBytes(command, bytes);
    this.#tally.ended(command, OK, startedMs);
  }

  failed(command: FileCommand, errno: Errno, startedMs: number): void {
    const index = ERRNO_NAMES.findIndex((name) => Errno[name] === errno);
    this.#tally.ended(command, FIRST_ERRNO + index, startedMs);
  }

  snapshot(): FileCommandSnapshot[] {
    return this.#tally.snapshot();
  }
}
