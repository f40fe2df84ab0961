/** A volume without a cache: every write is in the bucket before it is answered. */

import type { BatchExtent, Layout } from '../layout/layout.ts';
import { StorageError } from '../lib/errors.ts';
import { settleAll } from '../lib/settle.ts';
import type { BlockDevice, DeviceExtent, Geometry, WriteOptions, ZeroOptions } from './block-device.ts';
import { type Fence, whenOurs } from './fence.ts';

/** Larger requests are for clients to split. */
const REQUEST_MAX_BYTES = 32 * 1024 * 1024;
/** The smallest unit that filesystems care for. */
const SECTOR_BYTES = 512;
const PAGE_BYTES = 4096;

export interface WriteThroughDeviceOptions {
  readonly layout: Layout;
  readonly fence: Fence;
  readonly readOnly: boolean;
}

export class WriteThroughDevice implements BlockDevice {
  readonly #layout: Layout;
  readonly #fence: Fence;
  readonly #readOnly: boolean;
  /** Reads and writes that the layout has not answered. Each of them is bounded by the request it is made for. */
  readonly #reading = new Set<Promise<unknown>>();
  readonly #writing = new Set<Promise<unknown>>();
  #closed = false;

  constructor({ layout, fence, readOnly }: WriteThroughDeviceOptions) {
    this.#layout = layout;
    this.#fence = fence;
    this.#readOnly = readOnly;
  }

  get geometry(): Geometry {
    const { sizeBytes, blockSizeBytes } = this.#layout;
    return {
      sizeBytes,
      blockSizeMinBytes: Math.min(SECTOR_BYTES, blockSizeBytes),
      blockSizePreferredBytes: Math.max(PAGE_BYTES, Math.min(blockSizeBytes, REQUEST_MAX_BYTES)),
      blockSizeMaxBytes: REQUEST_MAX_BYTES,
      readOnly: this.#readOnly,
    };
  }

  async read(offset: number, length: number): Promise<Buffer> {
    this.#checkOpen();
    this.#checkInside(offset, length, 'INVALID');
    return length === 0 ? Buffer.alloc(0) : this.#ask(this.#reading, this.#layout.read(offset, length));
  }

  write(offset: number, data: Buffer, _options: WriteOptions): Promise<void> {
    return this.#commit(offset, data.length, { offset, data });
  }

  async zero(offset: number, length: number, { fastOnly }: ZeroOptions): Promise<void> {
    if (fastOnly && !this.#layout.zeroesFast(offset, length)) {
      throw new StorageError(
        'UNSUPPORTED',
        'the range does not begin and end with a block: zeroing it is not faster than writing',
      );
    }
    // Holes even where `mayTrim` is false: a block of zeros has no object in this format, so there is no space to keep.
    await this.#commit(offset, length, { offset, zeroLength: length });
  }

  trim(offset: number, length: number, _options: WriteOptions): Promise<void> {
    return this.#commit(offset, length, { offset, zeroLength: length });
  }

  /** Waits for the writes that are under way; answered ones are in the bucket already. Fails where one of those fails. */
  flush(): Promise<void> {
    return whenOurs(this.#fence, settleAll([...this.#writing]));
  }

  async extents(offset: number, length: number, countMax?: number): Promise<DeviceExtent[]> {
    this.#checkOpen();
    this.#checkInside(offset, length, 'INVALID');
    if (length === 0) return [];
    const extents = await this.#ask(this.#reading, this.#layout.extents(offset, length, countMax));
    return extents.map((extent) => ({ ...extent, state: 'absent' }));
  }

  /** There is no cache to read ahead into. */
  prefetch(_offset: number, _length: number): void {}

  async close(): Promise<void> {
    this.#closed = true;
    await Promise.allSettled([...this.#reading, ...this.#writing]);
    await this.#layout.close();
  }

  #checkOpen(): void {
    if (this.#closed) throw new StorageError('CANCELLED', 'the volume is closed');
  }

  /** Clients that connected before the volume shrank know its old size. */
  #checkInside(offset: number, length: number, code: 'INVALID' | 'NO_SPACE'): void {
    const { sizeBytes } = this.#layout;
    if (offset + length <= sizeBytes) return;
    throw new StorageError(code, `${length} bytes from ${offset} are past the end of the volume, ${sizeBytes} bytes`);
  }

  async #commit(offset: number, length: number, extent: BatchExtent): Promise<void> {
    if (this.#readOnly) throw new StorageError('READ_ONLY', 'the volume is read-only');
    this.#checkOpen();
    this.#checkInside(offset, length, 'NO_SPACE');
    if (length > 0) await this.#ask(this.#writing, this.#layout.commit({ extents: [extent] }));
  }

  #ask<T>(underWay: Set<Promise<unknown>>, request: Promise<T>): Promise<T> {
    underWay.add(request);
    const ended = request.finally(() => underWay.delete(request));
    return whenOurs(this.#fence, ended);
  }
}
