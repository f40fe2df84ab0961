/** What a failing file operation means for the cache. */
import { StorageError } from '../errors.ts';
import { systemReason } from '../system-reason.ts';

const NO_SPACE = new Set(['ENOSPC', 'EDQUOT', 'EFBIG']);
/** There cannot be such a file, or it is not ours to use: trying again, or another disk, would not help. */
const UNUSABLE = new Set(['ENOENT', 'ENOTDIR', 'EISDIR', 'EEXIST', 'ELOOP', 'ENAMETOOLONG', 'EACCES', 'EPERM']);

/** The StorageError for having failed to `operation` the file or directory at `path`. */
export function diskError(operation: string, path: string, cause: unknown): StorageError {
  if (cause instanceof StorageError) return cause;
  const code = errnoOf(cause);
  const message = `cannot ${operation} ${path}: ${systemReason(cause)}`;
  if (code !== undefined && NO_SPACE.has(code)) return new StorageError('NO_SPACE', message, { cause });
  return new StorageError('UNAVAILABLE', message, { cause, retryable: false });
}

/** The same where it is the path itself that is being looked up: INVALID where it cannot be used. */
export function pathError(operation: string, path: string, cause: unknown): StorageError {
  const code = errnoOf(cause);
  if (code === undefined || !UNUSABLE.has(code)) return diskError(operation, path, cause);
  return new StorageError('INVALID', `cannot ${operation} ${path}: ${systemReason(cause)}`, { cause });
}

export function errnoOf(error: unknown): string | undefined {
  const code = (error as { code?: unknown } | null)?.code;
  return typeof code === 'string' ? code : undefined;
}
