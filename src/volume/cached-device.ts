/** A volume with a cache, as a block device. */
import type { CachedVolume } from '../cache/cached-volume.ts';
import { PAGE_BYTES } from '../cache/page.ts';
import type { BlockDevice, DeviceExtent, Geometry, WriteOptions, ZeroOptions } from './block-device.ts';

/** Larger requests are for clients to split. */
const REQUEST_MAX_BYTES = 32 * 1024 * 1024;
/** The smallest unit that filesystems care for. */
const SECTOR_BYTES = 512;

export class CachedDevice implements BlockDevice {
  readonly #volume: CachedVolume;

  constructor(volume: CachedVolume) {
    this.#volume = volume;
  }

  get geometry(): Geometry {
    return {
      sizeBytes: this.#volume.sizeBytes,
      blockSizeMinBytes: SECTOR_BYTES,
      blockSizePreferredBytes: PAGE_BYTES,
      blockSizeMaxBytes: REQUEST_MAX_BYTES,
      readOnly: false,
    };
  }

  read(offset: number, length: number): Buffer | Promise<Buffer> {
    return this.#volume.read(offset, length);
  }

  readInto(target: Buffer, offset: number): boolean {
    return this.#volume.readInto(target, offset);
  }

  write(offset: number, data: Buffer, options: WriteOptions): void | Promise<void> {
    return this.#volume.write(offset, data, options);
  }

  /** Fast whatever the range: one record in the log, and no more than a page written at each end. */
  zero(offset: number, length: number, options: ZeroOptions): void | Promise<void> {
    return this.#volume.zero(offset, length, options);
  }

  trim(offset: number, length: number, options: WriteOptions): void | Promise<void> {
    return this.#volume.trim(offset, length, options);
  }

  flush(): void | Promise<void> {
    return this.#volume.flush();
  }

  extents(offset: number, length: number, countMax?: number): Promise<DeviceExtent[]> {
    return this.#volume.extents(offset, length, countMax);
  }

  prefetch(offset: number, length: number, signal?: AbortSignal): Promise<void> {
    return this.#volume.prefetch(offset, length, signal);
  }

  /** Uploads everything, however long that takes. */
  async close(): Promise<void> {
    await this.#volume.close(new AbortController().signal);
  }
}
