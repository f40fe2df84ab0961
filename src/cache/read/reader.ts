/** Answers reads from wherever the bytes are: what is dirty, what is cached, and the bucket. */
import type { Layout } from '../../layout/layout.ts';
import type { StorageError } from '../../lib/errors.ts';
import type { CleanReader } from '../clean-reader.ts';
import type { DirtyStore } from '../dirty/dirty-store.ts';
import type { PartialPage } from '../dirty/partial-page.ts';
import { PAGE_BYTES, pageAfter, pageOf } from '../page.ts';
import type { Fetcher } from './fetcher.ts';
import { ReadAhead } from './read-ahead.ts';

/** Pages, half-open. */
interface PageRange {
  readonly first: number;
  readonly end: number;
}

interface MissingPages {
  readonly ranges: PageRange[];
  /** Those of which parts are dirty, as they were when the read was made. */
  readonly partials: Map<number, PartialPage>;
}

export interface ReaderOptions {
  readonly store: DirtyStore;
  readonly clean: CleanReader;
  readonly fetcher: Fetcher;
  readonly layout: Layout;
  readonly cacheSizeBytes: number;
  /** Why the volume is another writer's now, or null. */
  readonly lost: () => StorageError | null;
}

/** Of a prefetch: looked at in one turn, and fetched before the next. */
const PREFETCH_PAGES = (64 * 1024 * 1024) / PAGE_BYTES;

export class Reader {
  readonly #store: DirtyStore;
  readonly #clean: CleanReader;
  readonly #fetcher: Fetcher;
  readonly #layout: Layout;
  readonly #lost: () => StorageError | null;
  readonly #readAhead: ReadAhead;
  readonly #stop = new AbortController();
  #missedPages = 0;

  constructor(options: ReaderOptions) {
    this.#store = options.store;
    this.#clean = options.clean;
    this.#fetcher = options.fetcher;
    this.#layout = options.layout;
    this.#readAhead = new ReadAhead(options.cacheSizeBytes);
    this.#lost = options.lost;
  }

  /** Pages that were asked for and were not here. */
  get missedPages(): number {
    return this.#missedPages;
  }

  /** The bytes as they are at this moment; at once where all of them are here. */
  read(offset: number, length: number): Buffer | Promise<Buffer> {
    const first = pageOf(offset);
    const end = pageAfter(offset + length);
    const sequential = this.#readAhead.note(first, end);
    const bytes = Buffer.allocUnsafe((end - first) * PAGE_BYTES);
    const missing = this.#gather(first, end, bytes, !sequential);
    if (sequential) this.#continueStream(end);
    const skip = offset - first * PAGE_BYTES;
    if (missing === null) return skip === 0 && length === bytes.length ? bytes : bytes.subarray(skip, skip + length);
    return this.#fill(first, bytes, missing).then(() => bytes.subarray(skip, skip + length));
  }

  /** Fills `target` from `offset` on where all of it is here, and is whole pages. */
  readInto(target: Buffer, offset: number): boolean {
    if (offset % PAGE_BYTES !== 0 || target.length % PAGE_BYTES !== 0) return false;
    const first = pageOf(offset);
    const end = first + target.length / PAGE_BYTES;
    const sequential = this.#readAhead.note(first, end);
    if (this.#gather(first, end, target, !sequential) !== null) return false;
    if (sequential) this.#continueStream(end);
    return true;
  }

  /** Copies what is here of pages [first, end) into `bytes`, and returns what is not; null where everything is. */
  #gather(first: number, end: number, bytes: Buffer, counts: boolean): MissingPages | null {
    const store = this.#store;
    let missing: MissingPages | null = null;
    for (let page = first; page < end; ) {
      store.checkSound(page);
      const at = (page - first) * PAGE_BYTES;
      const dirty = store.readRun(page, end, bytes, at);
      if (dirty > 0) {
        page += dirty;
        continue;
      }
      const partial = store.map.partial(page);
      if (partial?.isWhole) {
        partial.bytes.copy(bytes, at);
        page++;
        continue;
      }
      const cleanEnd = partial === undefined ? this.#cleanEnd(page, end) : page + 1;
      const here = this.#clean.readAt(page, cleanEnd, bytes, at, counts);
      if (partial !== undefined && here === 1) partial.overlay(bytes.subarray(at, at + PAGE_BYTES));
      page += here;
      if (here > 0 && page === cleanEnd) continue;
      missing ??= { ranges: [], partials: new Map() };
      // The parts as they are now: what is written to the page later is not for this read.
      if (partial !== undefined) missing.partials.set(page, partial.copy());
      const absentEnd = partial === undefined ? this.#absentEnd(page, cleanEnd) : page + 1;
      missing.ranges.push({ first: page, end: absentEnd });
      page = absentEnd;
    }
    return missing;
  }

  async #fill(first: number, bytes: Buffer, { ranges, partials }: MissingPages): Promise<void> {
    for (const { first: from, end } of ranges) this.#missedPages += end - from;
    const fetches = ranges.map((range) =>
      this.#fetcher.fetch(range.first, range.end, bytes, (range.first - first) * PAGE_BYTES),
    );
    for (const fetched of await Promise.allSettled(fetches)) {
      if (fetched.status === 'rejected') throw this.#lost() ?? fetched.reason;
    }
    const lost = this.#lost();
    if (lost !== null) throw lost;
    partials.forEach((partial, page) => {
      const at = (page - first) * PAGE_BYTES;
      partial.overlay(bytes.subarray(at, at + PAGE_BYTES));
    });
  }

  /** The first page behind `page` that is dirty or damaged, or `end`. */
  #cleanEnd(page: number, end: number): number {
    const { map, damaged } = this.#store;
    if (map.isEmpty && damaged.count === 0) return end;
    let to = page + 1;
    while (to < end && !map.has(to) && !damaged.has(to)) to++;
    return to;
  }

  /** The first page behind `page` that need not be fetched, or `end`. */
  #absentEnd(page: number, end: number): number {
    let to = page + 1;
    while (to < end && this.#clean.countFrom(to, to + 1) === 0) to++;
    return to;
  }

  /** The runs of [first, end) that only the bucket has. */
  #absent(first: number, end: number): PageRange[] {
    const ranges: PageRange[] = [];
    for (let page = first; page < end; ) {
      const here = this.#store.map.has(page) ? 1 : this.#clean.countFrom(page, this.#cleanEnd(page, end));
      page += here;
      if (here > 0) continue;
      const to = this.#absentEnd(page, this.#cleanEnd(page, end));
      ranges.push({ first: page, end: to });
      page = to;
    }
    return ranges;
  }

  #continueStream(end: number): void {
    const range = this.#readAhead.next(end, this.#layout.sizeBytes / PAGE_BYTES);
    if (range === null) return;
    for (const { first, end: to } of this.#absent(range.first, range.end))
      void this.#fetcher.ahead(first, to, this.#stop.signal);
  }

  /**
   * Brings the range into the cache; resolves once that has been tried, or `signal` aborts. A part at a time: the range may be
   * all of a large volume, and looking for what is absent takes a step for each page.
   */
  async prefetch(offset: number, length: number, signal?: AbortSignal): Promise<void> {
    const end = pageAfter(offset + length);
    const stop = signal === undefined ? this.#stop.signal : AbortSignal.any([this.#stop.signal, signal]);
    for (let at = pageOf(offset); at < end && !stop.aborted; at += PREFETCH_PAGES) {
      if (at > pageOf(offset)) await new Promise((resolve) => setImmediate(resolve));
      const ranges = this.#absent(at, Math.min(end, at + PREFETCH_PAGES));
      await Promise.all(ranges.map((range) => this.#fetcher.ahead(range.first, range.end, stop)));
    }
  }

  /** Nothing more is read ahead. */
  stop(): void {
    this.#stop.abort();
  }
}
