/** Volumes behind a cache over a layout in memory whose requests a test sees, holds back and fails. */
import { CachedVolume, type CachedVolumeOptions } from '../../../src/cache/cached-volume.ts';
import { PAGE_BYTES } from '../../../src/cache/page.ts';
import type { Batch, BatchExtent, Extent, Layout } from '../../../src/layout/layout.ts';
import { PoisonedSlabs } from '../../support/poisoned-slabs.ts';
import type { SimDisk } from '../../support/sim-disk.ts';
import { VirtualClock } from '../../support/virtual-clock.ts';
import { LogBook } from '../volume/fixtures.ts';
import { newDisk } from './log/fixtures.ts';

export const KIB = 1024;
export const MIB = 1024 * KIB;
export const BLOCK_BYTES = 64 * KIB;
export const never = new AbortController().signal;

/** A bucket as the cache sees it. A read answers what is there when it is made, however late it is answered. */
export class MemoryLayout implements Layout {
  readonly blockSizeBytes: number;
  readonly fetchBytes: number;
  sizeBytes: number;
  readonly #pages = new Map<number, Buffer>();
  readonly reads: { readonly offset: number; readonly length: number }[] = [];
  readonly batches: (readonly BatchExtent[])[] = [];
  beforeCommit: (batch: Batch) => void | Promise<void> = () => {};
  beforeRead: (offset: number, length: number) => void | Promise<void> = () => {};
  /** Pages that never held anything are known to be zeros. */
  knowsZeros = false;

  constructor(sizeBytes: number, blockSizeBytes = BLOCK_BYTES, fetchBytes = blockSizeBytes) {
    this.sizeBytes = sizeBytes;
    this.blockSizeBytes = blockSizeBytes;
    this.fetchBytes = fetchBytes;
  }

  async read(offset: number, length: number): Promise<Buffer> {
    this.reads.push({ offset, length });
    const bytes = this.#bytesAt(offset, length);
    await this.beforeRead(offset, length);
    return bytes;
  }

  peek(offset: number, length: number): Promise<Buffer> {
    return this.read(offset, length);
  }

  #bytesAt(offset: number, length: number): Buffer {
    if (length < 0 || offset + length > this.sizeBytes) throw new Error(`a read of ${length} bytes at ${offset}`);
    const bytes = Buffer.alloc(length);
    for (let at = 0; at < length; ) {
      const [page, from] = [Math.floor((offset + at) / PAGE_BYTES), (offset + at) % PAGE_BYTES];
      const part = Math.min(PAGE_BYTES - from, length - at);
      this.#pages.get(page)?.copy(bytes, at, from, from + part);
      at += part;
    }
    return bytes;
  }

  async commit(batch: Batch): Promise<void> {
    await this.beforeCommit(batch);
    this.batches.push(batch.extents);
    let end = 0;
    for (const extent of batch.extents) {
      const length = extent.data?.length ?? extent.zeroLength ?? 0;
      if (extent.offset < end || length === 0 || extent.offset + length > this.sizeBytes) {
        throw new Error(`an extent of ${length} bytes at ${extent.offset}, after ${end}, of ${this.sizeBytes}`);
      }
      end = extent.offset + length;
      if (extent.data !== undefined) this.poke(extent.offset, extent.data);
      else this.#zero(extent.offset, length);
    }
  }

  poke(offset: number, data: Buffer): void {
    for (let at = 0; at < data.length; ) {
      const [number, from] = [Math.floor((offset + at) / PAGE_BYTES), (offset + at) % PAGE_BYTES];
      const page = Buffer.from(this.#pages.get(number) ?? Buffer.alloc(PAGE_BYTES));
      const part = Math.min(PAGE_BYTES - from, data.length - at);
      data.copy(page, from, at, at + part);
      this.#pages.set(number, page);
      at += part;
    }
  }

  zerosFrom(offset: number, length: number): number {
    if (!this.knowsZeros) return 0;
    let page = Math.floor(offset / PAGE_BYTES);
    while (page * PAGE_BYTES < offset + length && !this.#pages.has(page)) page++;
    return Math.max(0, Math.min(length, page * PAGE_BYTES - offset));
  }

  zeroesFast(): boolean {
    return true;
  }

  async extents(offset: number, length: number): Promise<Extent[]> {
    return [{ length: Math.min(length, this.sizeBytes - offset), hole: false, zero: false }];
  }

  async cutOff(sizeBytes: number): Promise<void> {
    this.sizeBytes = sizeBytes;
  }

  async clearBeyondEnd(): Promise<void> {}

  extend(sizeBytes: number): void {
    this.sizeBytes = sizeBytes;
  }

  async close(): Promise<void> {}

  #zero(offset: number, length: number): void {
    for (const page of this.#pages.keys()) {
      const from = Math.max(offset, page * PAGE_BYTES);
      const to = Math.min(offset + length, (page + 1) * PAGE_BYTES);
      if (from < to) this.#pages.get(page)?.fill(0, from - page * PAGE_BYTES, to - page * PAGE_BYTES);
      if (to - from === PAGE_BYTES) this.#pages.delete(page);
    }
  }
}

export interface Rig {
  readonly clock: VirtualClock;
  readonly layout: MemoryLayout;
  readonly log: LogBook;
  disk: SimDisk;
  open(overrides?: Partial<CachedVolumeOptions>): Promise<CachedVolume>;
}

export function rig(
  options: { readonly seed?: number; readonly sizeBytes?: number; readonly layout?: MemoryLayout } = {},
): Rig {
  const clock = new VirtualClock();
  const layout = options.layout ?? new MemoryLayout(options.sizeBytes ?? 16 * MIB);
  const log = new LogBook();
  const self: Rig = {
    clock,
    layout,
    log,
    disk: newDisk(options.seed ?? 1, { clock }),
    open: (overrides = {}) =>
      CachedVolume.open({
        disk: self.disk,
        directory: '/cache/volume',
        layout,
        volumeId: 'volume',
        trusted: true,
        unchanged: null,
        onTrusted: async () => {},
        durability: 'local',
        logSizeBytes: MIB,
        cacheSizeBytes: MIB,
        triggers: { ageMs: 1e9, dirtyBytesMax: 1e12 },
        lost: () => null,
        whenOurs: (work) => work,
        clock,
        log,
        slabs: new PoisonedSlabs(),
        ...overrides,
      }),
  };
  return self;
}

/** A gate that requests stand at until it is opened. */
export function gate(): { readonly closed: Promise<void>; readonly open: () => void } {
  const { promise, resolve } = Promise.withResolvers<void>();
  return { closed: promise, open: resolve };
}

/** `length` bytes that say which write they are of. */
export function filled(tag: number, length = PAGE_BYTES): Buffer {
  return Buffer.alloc(length, tag);
}
