/** What a failed device request is answered with: the one table from error codes to NBD's errors. */
import { type ErrorCode, StorageError } from '../lib/errors.ts';
import { NbdErrno } from './constants.ts';

const ERRNO_OF_CODE: Readonly<Record<ErrorCode, NbdErrno>> = {
  NOT_FOUND: NbdErrno.EIO,
  ACCESS_DENIED: NbdErrno.EIO,
  CONFLICT: NbdErrno.EIO,
  HELD: NbdErrno.EIO,
  FENCED: NbdErrno.ESHUTDOWN,
  CORRUPT: NbdErrno.EIO,
  TIMEOUT: NbdErrno.EIO,
  UNAVAILABLE: NbdErrno.EIO,
  NO_SPACE: NbdErrno.ENOSPC,
  READ_ONLY: NbdErrno.EPERM,
  INVALID: NbdErrno.EINVAL,
  UNSUPPORTED: NbdErrno.ENOTSUP,
  CANCELLED: NbdErrno.ESHUTDOWN,
};

/** EIO for anything that is not a StorageError. */
export function errnoOf(error: unknown): NbdErrno {
  return error instanceof StorageError ? ERRNO_OF_CODE[error.code] : NbdErrno.EIO;
}

/** What the client may read about it: our own message, without causes; nothing of an error we did not make. */
export function errorText(error: unknown): string {
  return error instanceof StorageError ? error.message : 'internal error';
}
