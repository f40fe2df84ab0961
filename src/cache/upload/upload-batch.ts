/** What is uploaded in one piece: the records of the log up to a barrier, each page once, as the layout wants it. */
import type { BatchExtent } from '../../layout/layout.ts';
import { isStorageError } from '../../lib/errors.ts';
import { DirtyMap } from '../dirty/dirty-map.ts';
import type { DirtyStore } from '../dirty/dirty-store.ts';
import { applyRecord } from '../dirty/record-map.ts';
import { DATA } from '../log/log-record.ts';
import type { WriteLog } from '../log/write-log.ts';
import { PAGE_BYTES, pageAfter, pageOf } from '../page.ts';
import type { BatchMemory } from './batch-memory.ts';

/** Clean pages put into batches so that blocks are whole and need not be fetched: at most so many bytes a batch. */
const COMPLETION_BYTES_MAX = 32 * 1024 * 1024;

/** Records taken into a batch without letting anybody else have a turn. */
const RECORDS_A_TURN = 1024;

export interface UploadBatch {
  /** Records up to this number, not including it. */
  readonly end: number;
  /** Ascending and disjoint. */
  readonly extents: readonly BatchExtent[];
  /** Bytes of data in it. */
  readonly bytes: number;
  /** The whole pages in it that were written, and not only put there to complete a block. */
  readonly fresh: readonly FreshPages[];
  /** Pages whose newest bytes are in it, are lost or lie beyond the end, those of zeroed ranges excepted. */
  readonly pages: readonly number[];
  /** The blocks of which all is in it, by number. */
  readonly blocks: ReadonlyMap<number, Buffer>;
  /** What it has taken of the memory for batches. */
  readonly taken: readonly Buffer[];
}

export interface FreshPages {
  readonly firstPage: number;
  readonly data: Buffer;
}

/** Pages that are in the bucket as they are here. */
export interface CleanPages {
  /** Copies page after page of [first, end) into `target`; returns how many there were before the first that is missing. */
  read(first: number, end: number, target: Buffer): number;
}

export interface BatchSources {
  readonly store: DirtyStore;
  readonly clean: CleanPages;
  readonly blockSizeBytes: number;
  readonly memory: BatchMemory;
  /** What the disk cannot read is given up as damaged; else it is met with UNAVAILABLE, and may be tried again. */
  readonly givesUp: boolean;
}

/**
 * Reads everything that records [first, end) bring. What is damaged is left out, and known to the store afterwards; so is what
 * lies beyond the end of the volume, `sizeBytes`, which was larger when it was written.
 */
export async function buildBatch(
  sources: BatchSources & { readonly sizeBytes: number },
  first: number,
  end: number,
): Promise<UploadBatch> {
  const { store } = sources;
  const { log } = store;
  const map = new DirtyMap();
  /** They are not in `map`, and have to be forgotten like the others. */
  const lost = new Set<number>();
  const endPage = sources.sizeBytes / PAGE_BYTES;
  for (let number = first; number < end; number++) {
    applyRecord(map, log, number, (page, error) => {
      if (page < endPage && !sources.givesUp && !isStorageError(error, 'CORRUPT')) throw error;
      lost.add(page);
      if (page >= endPage) return;
      if (store.map.record(page) > number) store.damaged.noteReplaced();
      else store.damaged.add(page);
    });
    // A batch may be of a great many small records: clients are answered in between.
    if ((number - first) % RECORDS_A_TURN === RECORDS_A_TURN - 1) await new Promise((resolve) => setImmediate(resolve));
  }
  const beyond = map.pagesIn(endPage, Number.MAX_SAFE_INTEGER);
  map.truncate(endPage);
  const pages = map.pagesIn(0, Number.MAX_SAFE_INTEGER);
  const builder = new ExtentBuilder(sources, map);
  for (let at = 0; at < pages.length; ) at = await builder.addBlock(pages, at);
  const { fresh, bytes, blocks, taken } = builder;
  return {
    end,
    extents: mergeZeroes(builder.take(), map),
    bytes,
    fresh,
    pages: [...pages, ...lost, ...beyond],
    blocks,
    taken,
  };
}

/** Turns dirty pages into extents, block by block. */
export class ExtentBuilder {
  fresh: FreshPages[] = [];
  bytes = 0;
  /** Those that were completed, by number. */
  readonly blocks = new Map<number, Buffer>();
  taken: Buffer[] = [];
  #extents: BatchExtent[] = [];
  readonly #sources: BatchSources;
  readonly #map: DirtyMap;
  readonly #blockPages: number;
  /** Pages whose bytes in this batch cannot be read. */
  readonly #damagedHere = new Set<number>();
  #completionBytes = 0;

  constructor(sources: BatchSources, map: DirtyMap) {
    this.#sources = sources;
    this.#map = map;
    this.#blockPages = sources.blockSizeBytes / PAGE_BYTES;
  }

  /** What has been added since the last call. */
  take(): BatchExtent[] {
    const extents = this.#extents;
    this.#extents = [];
    this.fresh = [];
    this.taken = [];
    return extents;
  }

  /** Adds the pages from index `at` on that are in one block, and returns the index of the first that is not. */
  async addBlock(pages: readonly number[], at: number): Promise<number> {
    const firstPage = Math.floor((pages[at] as number) / this.#blockPages) * this.#blockPages;
    const endPage = firstPage + this.#blockPages;
    let next = at;
    while (next < pages.length && (pages[next] as number) < endPage) next++;
    const ours = pages.slice(at, next);
    const whole = this.#completed(firstPage, endPage, ours);
    if (whole !== null) {
      for (const page of ours) await this.#read(page, page + 1, whole, (page - firstPage) * PAGE_BYTES);
      if (!ours.some((page) => this.#damaged(page))) {
        this.#extents.push({ offset: firstPage * PAGE_BYTES, data: whole });
        this.blocks.set(firstPage / this.#blockPages, whole);
        this.bytes += whole.length;
        this.#addFresh(ours, firstPage, whole);
        this.taken.push(whole);
        return next;
      }
      this.#sources.memory.giveBack([whole]);
    }
    for (let index = 0; index < ours.length; ) index = await this.#addRun(ours, index);
    return next;
  }

  /**
   * The whole block with the clean pages in their places, where every page that is not ours is clean and at hand; else
   * null. Taken in one turn, and only of pages that are not dirty at all: those are the same in the bucket until the batch
   * after this one.
   */
  #completed(firstPage: number, endPage: number, ours: readonly number[]): Buffer | null {
    const { blockSizeBytes, memory } = this.#sources;
    const missing = this.#blockPages - ours.length;
    if (missing === 0 || this.#map.zeroRangesIn(firstPage, endPage).length > 0) return null;
    if (this.#completionBytes + missing * PAGE_BYTES > COMPLETION_BYTES_MAX) return null;
    if (ours.some((page) => this.#map.partial(page) !== undefined || this.#damaged(page))) return null;
    const block = memory.take(blockSizeBytes);
    if (!this.#readOthers(firstPage, endPage, ours, block)) {
      memory.giveBack([block]);
      return null;
    }
    this.#completionBytes += missing * PAGE_BYTES;
    return block;
  }

  /** Reads what is between our pages into the block; false where a page of it is not clean, or not at hand. */
  #readOthers(firstPage: number, endPage: number, ours: readonly number[], block: Buffer): boolean {
    const { store, clean } = this.#sources;
    let page = firstPage;
    for (const our of [...ours, endPage]) {
      for (let other = page; other < our; other++) if (store.map.has(other) || store.damaged.has(other)) return false;
      const target = block.subarray((page - firstPage) * PAGE_BYTES, (our - firstPage) * PAGE_BYTES);
      if (page < our && clean.read(page, our, target) < our - page) return false;
      page = our + 1;
    }
    return true;
  }

  /** Adds the run of adjacent pages that begins at index `at`, and returns the index behind it. */
  async #addRun(pages: readonly number[], at: number): Promise<number> {
    const first = pages[at] as number;
    if (this.#damaged(first)) return at + 1;
    const partial = this.#map.partial(first);
    if (partial !== undefined) {
      for (const { from, to } of partial.spans) {
        this.#addData(first * PAGE_BYTES + from, Buffer.from(partial.bytes.subarray(from, to)));
      }
      return at + 1;
    }
    const zero = this.#isZero(first);
    let next = at + 1;
    while (
      next < pages.length &&
      pages[next] === first + next - at &&
      this.#map.partial(pages[next] as number) === undefined &&
      this.#isZero(pages[next] as number) === zero &&
      !this.#damaged(pages[next] as number)
    )
      next++;
    const end = first + next - at;
    if (zero) {
      this.#extents.push({ offset: first * PAGE_BYTES, zeroLength: (end - first) * PAGE_BYTES });
      return next;
    }
    const data = this.#sources.memory.take((end - first) * PAGE_BYTES);
    this.taken.push(data);
    await this.#read(first, end, data, 0);
    // Damage is found on the way: what is sound goes, in as many runs as it takes.
    for (let from = first; from < end; ) {
      let to = from;
      while (to < end && !this.#damaged(to)) to++;
      if (to > from)
        this.#addData(from * PAGE_BYTES, data.subarray((from - first) * PAGE_BYTES, (to - first) * PAGE_BYTES));
      from = to + 1;
    }
    return next;
  }

  /** Reads pages [first, end) of records into `target`. Those that are damaged are noted. */
  async #read(first: number, end: number, target: Buffer, at: number): Promise<void> {
    const { log } = this.#sources.store;
    for (let page = first; page < end; ) {
      const record = this.#map.record(page);
      let to = page + 1;
      while (to < end && this.#map.record(to) === record) to++;
      const bytes = target.subarray(at + (page - first) * PAGE_BYTES, at + (to - first) * PAGE_BYTES);
      if (log.records.kind(record) !== DATA) bytes.fill(0);
      else await this.#readRecord(log, record, page, to, bytes);
      page = to;
    }
  }

  async #readRecord(log: WriteLog, record: number, first: number, end: number, target: Buffer): Promise<void> {
    const index = first - pageOf(log.records.offset(record));
    try {
      await log.read(record, index, end - first, target);
    } catch (error) {
      if (!this.#sources.givesUp && !isStorageError(error, 'CORRUPT')) throw error;
      if (end - first === 1) this.#noteDamage(first, record);
      else
        for (let page = first; page < end; page++) {
          const at = (page - first) * PAGE_BYTES;
          await this.#readRecord(log, record, page, page + 1, target.subarray(at, at + PAGE_BYTES));
        }
    }
  }

  /** A newer write of the page, if there is one, is another matter, once it is durable. */
  #noteDamage(page: number, record: number): void {
    this.#damagedHere.add(page);
    const { map, damaged } = this.#sources.store;
    if (map.record(page) === record) damaged.add(page);
    else damaged.noteReplaced();
  }

  #damaged(page: number): boolean {
    return this.#damagedHere.has(page);
  }

  #isZero(page: number): boolean {
    const { records } = this.#sources.store.log;
    return records.kind(this.#map.record(page)) !== DATA;
  }

  #addData(offset: number, data: Buffer): void {
    this.#extents.push({ offset, data });
    this.bytes += data.length;
    if (offset % PAGE_BYTES === 0 && data.length % PAGE_BYTES === 0) {
      this.fresh.push({ firstPage: offset / PAGE_BYTES, data });
    }
  }

  /** The runs of `pages` in a block that was completed. */
  #addFresh(pages: readonly number[], blockPage: number, block: Buffer): void {
    for (let at = 0; at < pages.length; ) {
      const firstPage = pages[at] as number;
      let next = at + 1;
      while (pages[next] === firstPage + next - at) next++;
      const from = (firstPage - blockPage) * PAGE_BYTES;
      this.fresh.push({ firstPage, data: block.subarray(from, from + (next - at) * PAGE_BYTES) });
      at = next;
    }
  }
}

/** The extents with the zeroed ranges put where no page has been written since. */
export function mergeZeroes(extents: readonly BatchExtent[], map: DirtyMap): BatchExtent[] {
  const merged: BatchExtent[] = [];
  const ranges = map.zeroRangesIn(0, Number.MAX_SAFE_INTEGER);
  let next = 0;
  /** What has been added reaches to here; the last of it may reach into more than one range. */
  let done = 0;
  const addZeroes = (from: number, to: number): void => {
    if (to > from) merged.push({ offset: from, zeroLength: to - from });
  };
  for (const range of ranges) {
    let from = Math.max(done, range.first * PAGE_BYTES);
    const end = range.end * PAGE_BYTES;
    for (let extent = extents[next]; extent !== undefined && extent.offset < end; extent = extents[++next]) {
      if (extent.offset >= from) addZeroes(from, Math.min(extent.offset, end));
      merged.push(extent);
      from = Math.max(from, pageAfter(extentEnd(extent)) * PAGE_BYTES);
    }
    addZeroes(from, end);
    done = Math.max(from, end);
  }
  return [...merged, ...extents.slice(next)];
}

export function extentEnd(extent: BatchExtent): number {
  return extent.offset + (extent.data === undefined ? extent.zeroLength : extent.data.length);
}
