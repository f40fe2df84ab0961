/** What a failing file operation means for a bucket that is a directory. */
import { type ErrorCode, StorageError } from '../../lib/errors.ts';

const CODES: Readonly<Record<string, ErrorCode>> = {
  ENOSPC: 'NO_SPACE',
  EDQUOT: 'NO_SPACE',
  EFBIG: 'NO_SPACE',
  EACCES: 'ACCESS_DENIED',
  EPERM: 'ACCESS_DENIED',
  EROFS: 'ACCESS_DENIED',
  ENAMETOOLONG: 'INVALID',
};

export function errnoOf(error: unknown): string | undefined {
  const code = (error as { code?: unknown } | null)?.code;
  return typeof code === 'string' ? code : undefined;
}

/** The StorageError for `what` having failed; a StorageError is passed on as it is. */
export function fromFsError(what: string, cause: unknown): StorageError {
  if (cause instanceof StorageError) return cause;
  const errno = errnoOf(cause);
  const code = (errno !== undefined ? CODES[errno] : undefined) ?? 'UNAVAILABLE';
  return new StorageError(code, `${what} failed${errno === undefined ? '' : ` (${errno})`}`, { cause });
}
