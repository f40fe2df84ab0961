/** The byte-addressed face of a volume: all that NBD and FUSE see of it. */

export interface Geometry {
  readonly sizeBytes: number;
  /** Smallest request unit advertised; smaller and unaligned ones are answered correctly all the same. */
  readonly blockSizeMinBytes: number;
  readonly blockSizePreferredBytes: number;
  /** Largest payload of one read or write. */
  readonly blockSizeMaxBytes: number;
  readonly readOnly: boolean;
}

/**
 * Where a run's newest bytes are. `dirty`: here, and not in the bucket yet. `clean`: here and in the bucket. `absent`: not
 * here; in the bucket, or nowhere where it is a hole.
 */
export type ExtentState = 'absent' | 'clean' | 'dirty';

/** A run of the device. `hole`: nothing is stored for it. `zero`: it reads as zeros. */
export interface DeviceExtent {
  readonly length: number;
  readonly hole: boolean;
  readonly zero: boolean;
  readonly state: ExtentState;
}

export interface WriteOptions {
  /** The data is as durable as after a flush when the write resolves. */
  readonly fua: boolean;
}

export interface ZeroOptions extends WriteOptions {
  /** The range may become a hole. */
  readonly mayTrim: boolean;
  /** Reject with UNSUPPORTED, changing nothing, unless zeroing is faster than writing zeros. */
  readonly fastOnly: boolean;
}

/**
 * A virtual disk. Offsets and lengths are bytes, of any alignment, and have been checked against the geometry by the
 * caller. Requests may be made concurrently; overlapping ones take effect in the order they were made. A method that can
 * answer at once returns its value and not a promise: callers must handle both. Rejects (or throws) StorageError.
 */
export interface BlockDevice {
  readonly geometry: Geometry;

  /** The bytes; the buffer is the caller's to keep until it has been sent, and is not to be written to. */
  read(offset: number, length: number, signal?: AbortSignal): Buffer | Promise<Buffer>;

  /**
   * As `read` of as many bytes as `target` has, into it, where all of them are at hand: true. False where they are not, with
   * anything in `target`: then `read` is to be asked. Left out by devices that never have them at hand.
   */
  readInto?(target: Buffer, offset: number): boolean;

  /** Takes `data` until it settles, well or not; the caller must not change it before that. Afterwards nobody looks at it any more. */
  write(offset: number, data: Buffer, options: WriteOptions): void | Promise<void>;

  /** Afterwards the range reads as zeros. */
  zero(offset: number, length: number, options: ZeroOptions): void | Promise<void>;

  /** The bytes are no longer needed. Afterwards the range reads as zeros here, though callers may not rely on that. */
  trim(offset: number, length: number, options: WriteOptions): void | Promise<void>;

  /** When it settles, every write, zero and trim made before it is as durable as the volume's mode promises. */
  flush(): void | Promise<void>;

  /**
   * Adjacent runs that cover the range, in order; lengths add up to `length`. With a `countMax` they may end before that, but
   * not before they begin: after so many runs, or where looking further would take long.
   */
  extents(offset: number, length: number, countMax?: number): DeviceExtent[] | Promise<DeviceExtent[]>;

  /** A hint that the range will be read soon, of any length; resolves once it has been acted on, or `signal` aborts. */
  prefetch(offset: number, length: number, signal?: AbortSignal): void | Promise<void>;

  /** Waits for requests under way and makes everything durable. No request may follow. */
  close(): Promise<void>;
}
