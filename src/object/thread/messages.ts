/** What the two sides of a store on another thread say to each other. Bodies change hands or are shared; everything else is copied. */
import { describeError, type ErrorCode, isStorageError, StorageError } from '../../lib/errors.ts';
import type { ByteRange, ListedObject, ObjectHeaders, ObjectInfo, PutResult } from '../object-store.ts';

/** `asks`: the caller wants to be asked right before it is sent. */
export type Call =
  | { readonly name: 'get'; readonly key: string; readonly range: ByteRange | undefined }
  | { readonly name: 'head'; readonly key: string }
  | {
      readonly name: 'put';
      readonly key: string;
      /** In shared memory, where it is in such already; else in memory that changes hands. */
      readonly body: Uint8Array;
      readonly headers: ObjectHeaders | undefined;
      readonly ifMatch: string | undefined;
      readonly ifNoneMatch: '*' | undefined;
      readonly asks: boolean;
    }
  | { readonly name: 'delete'; readonly keys: readonly string[]; readonly asks: boolean }
  /** The first page; `next` has those after it, by the id of this call, until one is undefined or `end`. */
  | { readonly name: 'list'; readonly prefix: string; readonly startAfter: string | undefined }
  | { readonly name: 'next'; readonly list: number }
  | { readonly name: 'end'; readonly list: number }
  | { readonly name: 'close' };

export type ToThread =
  | { readonly kind: 'call'; readonly id: number; readonly call: Call }
  | { readonly kind: 'abort'; readonly id: number }
  | { readonly kind: 'permission'; readonly id: number; readonly granted: boolean; readonly at: Instant };

export type FromThread =
  /** It can be called. */
  | { readonly kind: 'ready' }
  /** It cannot be opened. */
  | { readonly kind: 'refused'; readonly error: SentError }
  | { readonly kind: 'value'; readonly id: number; readonly value: Value }
  | { readonly kind: 'error'; readonly id: number; readonly error: SentError }
  | { readonly kind: 'ask'; readonly id: number };

export type SentObject = ObjectInfo & { readonly body: Uint8Array<ArrayBuffer> };

/** Of a call, by its name. */
export type Value = SentObject | ObjectInfo | PutResult | readonly ListedObject[] | null | undefined;

/** A moment that both threads understand, also one that was before the machine was suspended. */
export interface Instant {
  /** Nanoseconds of the system's monotonic clock. */
  readonly monotonicNs: bigint;
  /** Milliseconds of the wall clock. */
  readonly wallMs: number;
}

export function instant(): Instant {
  return { monotonicNs: process.hrtime.bigint(), wallMs: Date.now() };
}

/** By whichever clock says more. */
export function msSince({ monotonicNs, wallMs }: Instant): number {
  return Math.max(Number(process.hrtime.bigint() - monotonicNs) / 1e6, Math.abs(Date.now() - wallMs));
}

export interface SentError {
  /** Null: it is none of ours, and a mistake. */
  readonly code: ErrorCode | null;
  readonly message: string;
  readonly retryable: boolean;
  readonly retryAfterMs: number | undefined;
  readonly cause: string | null;
}

export function sendError(error: unknown): SentError {
  const cause = error instanceof Error && error.cause !== undefined ? describeError(error.cause) : null;
  if (isStorageError(error)) {
    const { code, message, retryable, retryAfterMs } = error;
    return { code, message, retryable, retryAfterMs, cause };
  }
  const message = error instanceof Error ? (error.stack ?? error.message) : String(error);
  return { code: null, message, retryable: false, retryAfterMs: undefined, cause };
}

/** `cause`: instead of the one on the other side, which was not sent but as words. */
export function receiveError(sent: SentError, cause?: unknown): Error {
  const words = sent.cause === null ? undefined : new Error(sent.cause);
  const options = { cause: cause ?? words };
  if (sent.code === null) return new Error(sent.message, options);
  const { code, message, retryable, retryAfterMs } = sent;
  return new StorageError(code, message, {
    ...options,
    retryable,
    ...(retryAfterMs === undefined ? {} : { retryAfterMs }),
  });
}
