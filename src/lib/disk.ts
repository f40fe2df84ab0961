/**
 * The local disk as the cache sees it: a few files of known names below one directory, and an explicit word for what is
 * durable. Tests put a disk in its place that loses unsynced writes, tears sectors and fails.
 */

/**
 * An open file. Positions and lengths are bytes; `target` and `source` are whole buffers (slice them). Rejects, or throws
 * where it answers at once, with StorageError: NO_SPACE where the disk is full, UNAVAILABLE (not retryable) where it fails.
 */
export interface DiskFile {
  readonly path: string;

  sizeBytes(): number;

  /** Fills `target` from `position` on and returns how many bytes there were: fewer only at the end of the file. */
  readSync(target: Buffer, position: number): number;
  read(target: Buffer, position: number): Promise<number>;

  /** Writes all of `source`. Not durable, nor in any order after a crash, before `datasync` has resolved. */
  writeSync(source: Buffer, position: number): void;
  write(source: Buffer, position: number): Promise<void>;

  /**
   * Resolves once every write that had returned or resolved before this call is durable. Where it rejects, any of them
   * since the last success may be lost, and syncing again without writing them again proves nothing (fsync(2), "errors").
   */
  datasync(): Promise<void>;

  /** Sets the size; a part that is added reads as zeros. */
  truncate(sizeBytes: number): void;

  /**
   * Makes the file `sizeBytes` long with its space set aside, so that no later write inside it meets a full disk. What is
   * there stays, and where the space is not to be had, so does the size. No other call on the file may be under way.
   */
  reserve(sizeBytes: number): Promise<void>;

  /** Never throws. Calls under way end as they would have; those made afterwards fail with CANCELLED. */
  close(): void;
}

/** Paths are as the operating system has them. Errors as those of DiskFile; INVALID where a path cannot be used at all. */
export interface Disk {
  /** Opens the file for reading and writing; it is made where it is missing. */
  open(path: string): DiskFile;

  exists(path: string): boolean;

  /** Names in the directory, in no order; none where it is missing. */
  list(directory: string): string[];

  /** With those above it. */
  makeDirectory(directory: string): void;

  /** Takes the place of `to`, at once or not at all. Durable after `syncDirectory`. */
  rename(from: string, to: string): void;

  /** Nothing happens where it is missing. */
  remove(path: string): void;

  /** Resolves once files made, renamed and removed in the directory are so for good. */
  syncDirectory(directory: string): Promise<void>;
}
