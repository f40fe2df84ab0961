/** The seam between a volume's bytes and the objects that hold them. */

/** A piece of a batch: `data` replaces the bytes from `offset`; `zeroLength` bytes of zeros do, where there is no data. */
export type BatchExtent =
  | { readonly offset: number; readonly data: Buffer; readonly zeroLength?: undefined }
  | { readonly offset: number; readonly data?: undefined; readonly zeroLength: number };

/**
 * Everything written between two barriers. The extents ascend and do not overlap. What lies beyond the end of the volume, which may have
 * been larger when it was written, is passed over.
 * Buffers belong to the layout until the commit settles.
 */
export interface Batch {
  readonly extents: readonly BatchExtent[];
}

/** A run of the volume as the layout knows it. `hole`: no object holds it. `zero`: it reads as zeros. */
export interface Extent {
  readonly length: number;
  readonly hole: boolean;
  readonly zero: boolean;
}

/**
 * How one volume's bytes become objects. Overlapping requests take effect in the order they were made: a read made
 * after a commit waits for that commit and returns its bytes. Rejects with StorageError.
 */
export interface Layout {
  readonly sizeBytes: number;
  /** The unit the layout stores; requests of this size and alignment are the cheap ones. */
  readonly blockSizeBytes: number;
  /** Reading less than this costs as much as reading this much, aligned to it: a divisor or a multiple of the block size. */
  readonly fetchBytes: number;

  /** `length` bytes at `offset`, both inside the volume. The buffer is not to be written to. */
  read(offset: number, length: number): Promise<Buffer>;

  /**
   * Like `read`, but does not wait for commits made before it that have not ended: what they change is returned as it was before them
   * or as it is after them. For whoever has those bytes himself, and must not wait while a store takes reads but no writes.
   */
  peek(offset: number, length: number): Promise<Buffer>;

  /**
   * Stores the batch: when it resolves, the bytes are in the bucket. When it rejects, each block of it holds its old
   * bytes or its new ones.
   */
  commit(batch: Batch): Promise<void>;

  /** How many bytes from `offset` on, at most `length`, are known to read as zeros, with nothing under way that changes it. */
  zerosFrom(offset: number, length: number): number;

  /** Whether zeroing exactly this range costs deletes only, with no block to read and write again. */
  zeroesFast(offset: number, length: number): boolean;

  /**
   * What is known of the range without reading data, in order, adjacent runs merged; lengths add up to `length`. Where that
   * takes more than `countMax` runs, only the first so many.
   */
  extents(offset: number, length: number, countMax?: number): Promise<Extent[]>;

  /**
   * The volume ends here for whoever uses it, from now on. Nothing may be asked beyond, and what was written there before has ended when this
   * resolves; it stays in the bucket until the volume grows over it. CANCELLED when `signal` aborts.
   */
  cutOff(sizeBytes: number, signal: AbortSignal): Promise<void>;

  /**
   * For a volume about to grow: what it has beyond its end, up to that size, will read as zeros. `onDeleted` is called with how many objects have been
   * deleted so far. CANCELLED when `signal` aborts.
   */
  clearBeyondEnd(sizeBytes: number, signal: AbortSignal, onDeleted?: (objects: number) => void): Promise<void>;

  /** The volume has this size for whoever uses it, from now on: a larger one, for which it has been cleared. */
  extend(sizeBytes: number): void;

  /** Waits for what is under way, then releases what is held. Nothing may be asked of it afterwards. */
  close(): Promise<void>;
}
