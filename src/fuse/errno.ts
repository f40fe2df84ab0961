/** What a failed device request is answered with: the one table from error codes to the system's error numbers. */
import { type ErrorCode, StorageError } from '../lib/errors.ts';
import { Errno } from './constants.ts';

/**
 * What a program is told must mean to it what it means of any file. EACCES and ENOENT, say, are about opening a file, and
 * not about the bucket behind it: those are EIO, and the log has the rest.
 */
const ERRNO_OF_CODE: Readonly<Record<ErrorCode, Errno>> = {
  NOT_FOUND: Errno.EIO,
  ACCESS_DENIED: Errno.EIO,
  CONFLICT: Errno.EIO,
  HELD: Errno.EIO,
  FENCED: Errno.ESTALE,
  CORRUPT: Errno.EIO,
  TIMEOUT: Errno.EIO,
  UNAVAILABLE: Errno.EIO,
  NO_SPACE: Errno.ENOSPC,
  READ_ONLY: Errno.EROFS,
  INVALID: Errno.EINVAL,
  UNSUPPORTED: Errno.EOPNOTSUPP,
  CANCELLED: Errno.EIO,
};

/** EIO for anything that is not a StorageError. */
export function errnoOf(error: unknown): Errno {
  return error instanceof StorageError ? ERRNO_OF_CODE[error.code] : Errno.EIO;
}
