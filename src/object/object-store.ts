/** The seam below the layouts: a bucket of keys, as S3 has it. Everything the storage engine knows of S3 is here. */

/**
 * Headers that belong to an object. Names in `metadata` are lower case, without the `x-amz-meta-` prefix; values are plain
 * ASCII without spaces at their ends.
 */
export interface ObjectHeaders {
  readonly contentType?: string;
  /** As sent: `deflate`, or `deflate, encrypt-AES-128-CBC`. */
  readonly contentEncoding?: string;
  readonly metadata?: Readonly<Record<string, string>>;
}

export interface ObjectInfo {
  readonly key: string;
  /** Length of the whole object, also where only a range of it was fetched. */
  readonly sizeBytes: number;
  /** Opaque, without quotes; changes whenever the object does. */
  readonly etag: string;
  readonly contentType: string | undefined;
  readonly contentEncoding: string | undefined;
  readonly metadata: Readonly<Record<string, string>>;
  readonly lastModified: Date | undefined;
}

export interface ObjectData extends ObjectInfo {
  /** The whole body, or exactly the bytes of the range asked for. Owned by the caller. */
  readonly body: Buffer;
}

export interface ListedObject {
  readonly key: string;
  readonly sizeBytes: number;
  readonly etag: string;
  /** By the store's clock. */
  readonly lastModified: Date | undefined;
}

/** Bytes from `offset`, `length` of them (at least 1), all inside the object. */
export interface ByteRange {
  readonly offset: number;
  readonly length: number;
}

export interface RequestOptions {
  readonly signal?: AbortSignal;
  /**
   * Asked by a write as late as can be, with nothing but the sending left to do. False: it rejects with CANCELLED, and
   * nothing has happened. A signal cannot do that: a process that was stopped runs on before its timers go off.
   */
  readonly mayStart?: () => boolean;
}

export interface GetOptions extends RequestOptions {
  readonly range?: ByteRange;
}

export interface PutOptions extends RequestOptions {
  readonly headers?: ObjectHeaders;
  /** Succeed only where the object exists with this ETag. Not together with `ifNoneMatch`. */
  readonly ifMatch?: string;
  /** `*`: succeed only where no object of that key exists. */
  readonly ifNoneMatch?: '*';
}

export interface ListOptions extends RequestOptions {
  /** Only keys that sort after this one. */
  readonly startAfter?: string;
}

export interface PutResult {
  readonly etag: string;
}

/**
 * A bucket. Every method rejects with a StorageError and nothing else:
 * ACCESS_DENIED, NOT_FOUND (the *bucket* is missing: an absent key is not an error), CONFLICT (a condition does not hold;
 * see AmbiguousConflict for one that an earlier attempt of the same put may have caused), TIMEOUT, UNAVAILABLE, NO_SPACE,
 * INVALID, CORRUPT (a body that fails its check), UNSUPPORTED, CANCELLED (the signal aborted).
 *
 * A read that begins after a write's promise has resolved sees that write. A write that rejects with TIMEOUT,
 * UNAVAILABLE or CANCELLED may or may not have taken effect.
 *
 * Bodies handed to `put` are not changed by the store, and must not be changed by the caller before the promise settles.
 */
export interface ObjectStore {
  /** For people and logs: `s3://bucket` or `file:///dir`. No secrets. */
  readonly description: string;
  /** The bucket's name: s3backer's key derivation is salted with it. */
  readonly bucket: string;

  /** The object, or null where the key does not exist. A range that is not inside the object rejects with INVALID. */
  get(key: string, options?: GetOptions): Promise<ObjectData | null>;

  /** What is known of the object without its body, or null where the key does not exist. */
  head(key: string, options?: RequestOptions): Promise<ObjectInfo | null>;

  /** Creates or replaces the object, whole or not at all. A condition that does not hold rejects with CONFLICT. */
  put(key: string, body: Buffer, options?: PutOptions): Promise<PutResult>;

  /**
   * Deletes the keys, at most DELETE_KEYS_MAX of them; a key that does not exist counts as deleted.
   * Where only some could be deleted it rejects, and any of them may be gone; deleting again is harmless.
   */
  delete(keys: readonly string[], options?: RequestOptions): Promise<void>;

  /** The keys that begin with `prefix`, ascending by their UTF-8 bytes, a page (at most 1000) at a time. */
  list(prefix: string, options?: ListOptions): AsyncIterable<readonly ListedObject[]>;

  /** Ends idle connections and releases what is held. No request may be under way or follow. */
  close(): Promise<void>;
}

/** The most keys one DeleteObjects request takes (S3 API). */
export const DELETE_KEYS_MAX = 1000;
