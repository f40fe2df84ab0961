/** What each failure ends the process with. Scripts depend on these numbers: they are never given another meaning. */
import { CommanderError } from 'commander';
import { type ErrorCode, isStorageError } from '../lib/errors.ts';

export const EXIT_OK = 0;
export const EXIT_FAILURE = 1;
export const EXIT_USAGE = 2;
/** A scan has found damage. */
export const EXIT_DAMAGE = 3;
/** Stopped with writes that are safe in the cache and not in the bucket yet. */
export const EXIT_DIRTY = 13;
/** A check of the doctor failed. */
export const EXIT_DOCTOR = 14;
export const EXIT_INTERRUPTED = 130;

const EXIT_CODES: Readonly<Record<ErrorCode, number>> = {
  NOT_FOUND: 10,
  HELD: 11,
  FENCED: 11,
  ACCESS_DENIED: 12,
  INVALID: EXIT_USAGE,
  CANCELLED: EXIT_INTERRUPTED,
  CONFLICT: EXIT_FAILURE,
  CORRUPT: EXIT_FAILURE,
  TIMEOUT: EXIT_FAILURE,
  UNAVAILABLE: EXIT_FAILURE,
  NO_SPACE: EXIT_FAILURE,
  READ_ONLY: EXIT_FAILURE,
  UNSUPPORTED: EXIT_FAILURE,
};

/** For the help of verbs that touch volumes. */
export const EXIT_CODES_HELP = `
Exit codes:
  0 ok, 1 failure, 2 usage or configuration, 3 damage found, 10 no such volume or bucket, 11 held by another writer,
  12 credentials or password refused, 13 stopped with writes safe in the cache but not in the bucket,
  130 interrupted`;

export function exitCodeOf(error: unknown): number {
  if (isStorageError(error)) return EXIT_CODES[error.code];
  if (error instanceof CommanderError) return error.exitCode === 0 ? EXIT_OK : EXIT_USAGE;
  return EXIT_FAILURE;
}
