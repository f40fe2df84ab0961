/** A BlockDevice in memory for the NBD tests: answering at once, or later by promises. */
import { StorageError } from '../../../src/lib/errors.ts';
import type {
  BlockDevice,
  DeviceExtent,
  Geometry,
  WriteOptions,
  ZeroOptions,
} from '../../../src/volume/block-device.ts';

const PAGE_BYTES = 4096;
const HOLE = 0;
const DIRTY = 1;
const CLEAN = 2;

export class MemoryDevice implements BlockDevice {
  readonly geometry: Geometry;
  readonly bytes: Buffer;
  /** What is known of each page, for the extents: as a cache would have it, a flush brings everything to the bucket. */
  readonly #pages: Uint8Array;
  /** Every call, in the order they were made. */
  readonly calls: string[] = [];
  /** Kept off where calls are too many to be remembered. */
  recordCalls = true;
  /** Off, reads return the memory itself: quicker to measure with, and a write before the reply has left shows in it. */
  copyReads = true;

  constructor(sizeBytes: number, geometry: Partial<Geometry> = {}) {
    this.geometry = {
      sizeBytes,
      blockSizeMinBytes: 1,
      blockSizePreferredBytes: PAGE_BYTES,
      blockSizeMaxBytes: 32 * 1024 * 1024,
      readOnly: false,
      ...geometry,
    };
    this.bytes = Buffer.alloc(sizeBytes);
    this.#pages = new Uint8Array(Math.ceil(sizeBytes / PAGE_BYTES));
  }

  read(offset: number, length: number, _signal?: AbortSignal): Buffer | Promise<Buffer> {
    this.#called('read', offset, length);
    const data = this.bytes.subarray(offset, offset + length);
    return this.copyReads ? Buffer.from(data) : data;
  }

  write(offset: number, data: Buffer, { fua }: WriteOptions): void | Promise<void> {
    this.#called('write', offset, data.length, fua && 'fua');
    data.copy(this.bytes, offset);
    this.#mark(offset, data.length);
  }

  zero(offset: number, length: number, { fua, mayTrim, fastOnly }: ZeroOptions): void | Promise<void> {
    this.#called('zero', offset, length, fua && 'fua', mayTrim && 'mayTrim', fastOnly && 'fastOnly');
    this.bytes.fill(0, offset, offset + length);
    if (mayTrim) this.#unmark(offset, length);
    else this.#mark(offset, length);
  }

  trim(offset: number, length: number, { fua }: WriteOptions): void | Promise<void> {
    this.#called('trim', offset, length, fua && 'fua');
    this.bytes.fill(0, offset, offset + length);
    this.#unmark(offset, length);
  }

  flush(): void | Promise<void> {
    this.#called('flush');
    for (let at = this.#pages.indexOf(DIRTY); at >= 0; at = this.#pages.indexOf(DIRTY, at + 1)) this.#pages[at] = CLEAN;
  }

  extents(
    offset: number,
    length: number,
    countMax = Number.POSITIVE_INFINITY,
  ): DeviceExtent[] | Promise<DeviceExtent[]> {
    this.#called('extents', offset, length);
    const extents: DeviceExtent[] = [];
    for (let at = offset; at < offset + length && extents.length < countMax; ) {
      const page = Math.floor(at / PAGE_BYTES);
      const end = Math.min(offset + length, (page + 1) * PAGE_BYTES);
      const known = this.#pages[page];
      const hole = known === HOLE;
      extents.push({
        length: end - at,
        hole,
        zero: hole,
        state: hole ? 'absent' : known === DIRTY ? 'dirty' : 'clean',
      });
      at = end;
    }
    return extents;
  }

  prefetch(offset: number, length: number): void | Promise<void> {
    this.#called('prefetch', offset, length);
  }

  async close(): Promise<void> {}

  #mark(offset: number, length: number): void {
    this.#pages.fill(DIRTY, Math.floor(offset / PAGE_BYTES), Math.ceil((offset + length) / PAGE_BYTES));
  }

  #unmark(offset: number, length: number): void {
    const first = Math.ceil(offset / PAGE_BYTES);
    const end = Math.floor((offset + length) / PAGE_BYTES);
    if (end > first) this.#pages.fill(HOLE, first, end);
  }

  #called(name: string, ...details: (string | number | false)[]): void {
    if (this.recordCalls) this.calls.push([name, ...details.filter((detail) => detail !== false)].join(' '));
  }
}

/** Answers everything in a later turn, and takes the data of a write only then: a buffer used again too early shows. */
export class LaterMemoryDevice extends MemoryDevice {
  override async read(offset: number, length: number, signal?: AbortSignal): Promise<Buffer> {
    await turn();
    return super.read(offset, length, signal);
  }

  override async write(offset: number, data: Buffer, options: WriteOptions): Promise<void> {
    await turn();
    await super.write(offset, data, options);
  }

  override async zero(offset: number, length: number, options: ZeroOptions): Promise<void> {
    await turn();
    await super.zero(offset, length, options);
  }

  override async trim(offset: number, length: number, options: WriteOptions): Promise<void> {
    await turn();
    await super.trim(offset, length, options);
  }

  override async flush(): Promise<void> {
    await turn();
    await super.flush();
  }

  override async extents(offset: number, length: number, countMax?: number): Promise<DeviceExtent[]> {
    await turn();
    return super.extents(offset, length, countMax);
  }

  override async prefetch(offset: number, length: number): Promise<void> {
    await turn();
    await super.prefetch(offset, length);
  }
}

/** A request the test completes when it wants to. */
export interface HeldRequest {
  readonly name: string;
  readonly offset: number;
  readonly signal: AbortSignal | undefined;
  complete(): void;
  fail(error: Error): void;
}

/** Holds reads, writes, flushes and prefetches until the test lets them go. */
export class HeldMemoryDevice extends MemoryDevice {
  readonly held: HeldRequest[] = [];
  #heldListeners: (() => void)[] = [];

  /** Resolves once `count` requests are held. */
  async whenHeld(count: number): Promise<void> {
    while (this.held.length < count) await new Promise<void>((resolve) => this.#heldListeners.push(resolve));
  }

  /** Completes the held request that begins at `offset`. */
  release(offset: number): void {
    const index = this.held.findIndex((request) => request.offset === offset);
    if (index < 0) throw new Error(`no request is held at ${offset}`);
    this.held.splice(index, 1)[0]?.complete();
  }

  override async read(offset: number, length: number, signal?: AbortSignal): Promise<Buffer> {
    await this.#hold('read', offset, signal);
    return super.read(offset, length);
  }

  override async write(offset: number, data: Buffer, options: WriteOptions): Promise<void> {
    await this.#hold('write', offset);
    await super.write(offset, data, options);
  }

  override async flush(): Promise<void> {
    await this.#hold('flush', 0);
    await super.flush();
  }

  /** One that is given up has been acted on. */
  override async prefetch(offset: number, length: number, signal?: AbortSignal): Promise<void> {
    await this.#hold('prefetch', offset, signal).catch(() => {});
    await super.prefetch(offset, length);
  }

  #hold(name: string, offset: number, signal?: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      this.held.push({ name, offset, signal, complete: resolve, fail: reject });
      signal?.addEventListener('abort', () => reject(new StorageError('CANCELLED', 'the request was given up')), {
        once: true,
      });
      const listeners = this.#heldListeners;
      this.#heldListeners = [];
      for (const listener of listeners) listener();
    });
  }
}

function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
