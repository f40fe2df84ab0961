/** The one error type of the storage engine: a stable code, a sentence for a person, and the cause. */

/**
 * What went wrong, in terms every edge (NBD, CLI, HTTP) maps once in a table of its own.
 *
 * - `NOT_FOUND`     the object, bucket or volume is not there
 * - `ACCESS_DENIED` credentials, permissions or a volume's key were refused
 * - `CONFLICT`      a conditional request lost: the object is not in the state it named
 * - `HELD`          another writer holds the volume
 * - `FENCED`        another writer took the volume from us; nothing more may be written
 * - `CORRUPT`       stored bytes do not pass their check
 * - `TIMEOUT`       no answer within the deadline; the effect of a write is unknown
 * - `UNAVAILABLE`   the store cannot serve now (5xx, throttling, connection refused)
 * - `NO_SPACE`      out of space, or a write past the end
 * - `READ_ONLY`     a write to something opened read-only
 * - `INVALID`       the request itself is wrong
 * - `UNSUPPORTED`   well formed, but not to be had here
 * - `CANCELLED`     given up because the caller asked (AbortSignal) or the appliance is stopping
 */
export type ErrorCode =
  | 'NOT_FOUND'
  | 'ACCESS_DENIED'
  | 'CONFLICT'
  | 'HELD'
  | 'FENCED'
  | 'CORRUPT'
  | 'TIMEOUT'
  | 'UNAVAILABLE'
  | 'NO_SPACE'
  | 'READ_ONLY'
  | 'INVALID'
  | 'UNSUPPORTED'
  | 'CANCELLED';

export interface StorageErrorOptions {
  readonly cause?: unknown;
  /** Whether the same request may succeed if sent again. Defaults to true for TIMEOUT and UNAVAILABLE only. */
  readonly retryable?: boolean;
  /** How long the other side asked us to wait before trying again (Retry-After). */
  readonly retryAfterMs?: number;
}

/** `message` says what was tried, on what, and where it helps, what to do about it. */
export class StorageError extends Error {
  override readonly name = 'StorageError';
  readonly code: ErrorCode;
  readonly retryable: boolean;
  readonly retryAfterMs: number | undefined;

  constructor(code: ErrorCode, message: string, options: StorageErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    this.retryable = options.retryable ?? (code === 'TIMEOUT' || code === 'UNAVAILABLE');
    this.retryAfterMs = options.retryAfterMs;
  }
}

/** True for a StorageError, of one of the `codes` where any are given. */
export function isStorageError(error: unknown, ...codes: readonly ErrorCode[]): error is StorageError {
  return error instanceof StorageError && (codes.length === 0 || codes.includes(error.code));
}

/** The error's message, followed by what those of its causes add to it, as one line for a log. */
export function describeError(error: unknown): string {
  const parts: string[] = [];
  for (
    let e: unknown = error;
    e !== undefined && e !== null && parts.length < 5;
    e = e instanceof Error ? e.cause : undefined
  ) {
    const text = (e instanceof Error ? e.message || e.name : String(e)).trim();
    if (!parts.some((part) => part.includes(text))) parts.push(text);
  }
  return parts.join(': ');
}
