/** The clean pages of one volume on the local disk: found by a lookup in memory, kept over restarts, and lost without harm. */
import { join } from 'node:path';
import type { Clock } from '../../lib/clock.ts';
import type { Disk, DiskFile } from '../../lib/disk.ts';
import { describeError } from '../../lib/errors.ts';
import type { Log } from '../../lib/log.ts';
import type { RangeCells, Tally } from '../../lib/range-cells.ts';
import { PAGE_BYTES } from '../page.ts';
import { Complaint } from './complaint.ts';
import type { EvictionQueues } from './eviction-queues.ts';
import { LINE_BYTES, LINE_PAGES, lineOf, maskOf } from './geometry.ts';
import type { IndexStore } from './index-store.ts';
import { LineReader, pageChecksum } from './line-reader.ts';
import { LineWriter, type PageWrite } from './line-writer.ts';
import { openParts } from './open-parts.ts';
import type { ChangedSlots } from './slot-changes.ts';
import type { SlotTable } from './slot-table.ts';

/** After a failed write nothing is cached for this long. */
const PAUSE_MS = 5_000;
/** So many changed slots, at most, are not in the journal where nobody asks for a checkpoint. */
const CHANGED_SLOTS_MAX = 4096;
const CHANGED_SHARE_MAX = 1 / 16;

export interface ReadCacheOptions {
  readonly disk: Disk;
  /** The volume's own; it exists. */
  readonly directory: string;
  /** At least a line of 64 KiB. May be another one than last time. */
  readonly sizeBytes: number;
  /** Of the volume and its content: what was cached under another one is not this volume's. */
  readonly identity: string;
  readonly clock: Clock;
  readonly log: Log;
}

/** Why pages come: somebody waits for them, they may be wanted soon, or they have been written. */
export type InsertKind = 'demand' | 'ahead' | 'written';

export interface ReadCacheStatus {
  readonly sizeBytes: number;
  readonly usedBytes: number;
  readonly pages: number;
  /** Pages read from here. */
  readonly hits: number;
  /** Pages whose bytes did not match their checksum. */
  readonly rotten: number;
  readonly readErrors: number;
  readonly writeErrors: number;
  /** Lines that had to go for others. */
  readonly evictions: number;
  /** Pages that were not taken because too much was being written, or the disk had failed. */
  readonly declined: number;
  /** Why what is cached would not outlive a restart, or null. */
  readonly indexError: string | null;
}

export class ReadCache {
  readonly #options: ReadCacheOptions;
  readonly #file: DiskFile;
  readonly #journal: DiskFile;
  readonly #table: SlotTable;
  readonly #queues: EvictionQueues;
  readonly #changes: ChangedSlots;
  readonly #store: IndexStore;
  readonly #reader: LineReader;
  readonly #writer: LineWriter;
  readonly #rot: Complaint;
  readonly #changesMax: number;
  /** Uses of one line after another, as by requests that go on where the last one ended, are one. */
  #lastUsed = -1;
  #pauseUntilMs = -Infinity;
  #isFailing = false;
  #closing: Promise<void> | null = null;
  #hits = 0;
  #rotten = 0;
  #readErrors = 0;
  #writeErrors = 0;
  #evictions = 0;
  #declined = 0;

  /** Rejects only where the files cannot be opened at all. */
  static async open(options: ReadCacheOptions): Promise<ReadCache> {
    let cache: ReadCache | null = null;
    const parts = await openParts(options, (slot) => cache?.isBusy(slot) ?? false);
    cache = new ReadCache(options, parts);
    return cache;
  }

  private constructor(options: ReadCacheOptions, parts: Awaited<ReturnType<typeof openParts>>) {
    this.#options = options;
    this.#file = parts.file;
    this.#journal = parts.journal;
    this.#table = parts.table;
    this.#queues = parts.queues;
    this.#changes = parts.changes;
    this.#store = parts.store;
    this.#changesMax = Math.min(CHANGED_SLOTS_MAX, Math.ceil(parts.table.slots * CHANGED_SHARE_MAX));
    this.#rot = new Complaint(options.clock, options.log, 'cached pages could not be read back, and are fetched again');
    this.#reader = new LineReader({
      file: parts.file,
      table: parts.table,
      onBad: (page, slot, error) => this.#dropBad(page, slot, error),
      onUsed: (slot) => this.#use(slot),
    });
    this.#writer = new LineWriter({
      file: parts.file,
      onWritten: (write) => this.#show(write),
      onFailed: (error) => this.#pause(error),
      onIdle: (slot) => this.#releaseIfEmpty(slot),
    });
  }

  /** Pages are on their way to the slot. */
  isBusy(slot: number): boolean {
    return this.#writer.isBusy(slot);
  }

  /** How many consecutive pages from `firstPage` on, up to `endPage`, are there. */
  lookup(firstPage: number, endPage: number): number {
    if (this.#closing !== null) return 0;
    return this.#reader.lookup(firstPage, endPage);
  }

  /**
   * Puts pages into `target` from byte `targetAt` on, and returns how many from `firstPage` on are there and good. One that
   * is not is dropped. `counts`: they are in use, and worth keeping.
   */
  read(firstPage: number, pageCount: number, target: Buffer, targetAt: number, counts: boolean): number {
    if (this.#closing !== null) return 0;
    const good = this.#reader.read(firstPage, pageCount, target, targetAt, counts);
    this.#hits += good;
    return good;
  }

  /** How many lines there is room for. */
  get slots(): number {
    return this.#table.slots;
  }

  /** The cached pages of the line in a slot, a bit each; null where there are none. */
  pagesOf(slot: number): { firstPage: number; mask: number } | null {
    const table = this.#table;
    return table.isUsed(slot) ? { firstPage: table.lineAt(slot) * LINE_PAGES, mask: table.maskAt(slot) } : null;
  }

  /**
   * Reads what is in a slot into `line`, and drops the pages that do not match their checksums: which those were, and which of the
   * others are in `line`, a bit each. Null where nothing is there.
   */
  verifySlot(slot: number, line: Buffer): { firstPage: number; good: number; bad: number } | null {
    const table = this.#table;
    if (this.#closing !== null || slot >= table.slots || !table.isUsed(slot)) return null;
    const firstPage = table.lineAt(slot) * LINE_PAGES;
    const before = table.maskAt(slot);
    let good = 0;
    for (let index = 0; index < LINE_PAGES; index++) {
      if ((before & (1 << index)) === 0) continue;
      if (this.#reader.read(firstPage + index, 1, line, index * PAGE_BYTES, false) === 1) good |= 1 << index;
    }
    return { firstPage, good, bad: before & ~good };
  }

  /**
   * Takes the pages in `data`, which must not change until this resolves. From now on no older ones are returned; they are
   * there themselves once this has resolved, unless too much is being written, the disk fails, or they were replaced. Never rejects.
   */
  insert(firstPage: number, data: Buffer, kind: InsertKind): Promise<void> {
    const endPage = firstPage + data.length / PAGE_BYTES;
    this.invalidate(firstPage, endPage);
    if (!this.#takes(data.length)) {
      this.#declined += endPage - firstPage;
      return Promise.resolve();
    }
    const { promise, resolve } = Promise.withResolvers<void>();
    let left = 1;
    const ended = (): void => {
      if (--left === 0) resolve();
    };
    for (let page = firstPage; page < endPage; ) {
      const line = lineOf(page);
      const to = Math.min(endPage, (line + 1) * LINE_PAGES);
      const slot = this.#slotFor(line, kind === 'demand');
      if (slot >= 0) {
        const from = page - line * LINE_PAGES;
        const wanted = maskOf(from, to - line * LINE_PAGES);
        const bytes = data.subarray((page - firstPage) * PAGE_BYTES, (to - firstPage) * PAGE_BYTES);
        left++;
        this.#writer.add({ slot, from, data: bytes, wanted, ended });
      } else {
        this.#declined += to - page;
      }
      page = to;
    }
    this.#writer.start();
    ended();
    return promise;
  }

  /** The pages are not there any more, also those on their way. Takes a step a line or a slot, whichever are fewer. */
  invalidate(firstPage: number, endPage: number): void {
    if (firstPage >= endPage || this.#closing !== null) return;
    const firstLine = lineOf(firstPage);
    const lastLine = lineOf(endPage - 1);
    if (lastLine - firstLine <= this.#table.usedSlots) {
      for (let line = firstLine; line <= lastLine; line++) {
        const slot = this.#table.find(line);
        if (slot >= 0) this.#invalidateIn(slot, line, firstPage, endPage);
      }
      return;
    }
    for (let slot = 0; slot < this.#table.slots; slot++) {
      const line = this.#table.lineAt(slot);
      if (line >= firstLine && line <= lastLine) this.#invalidateIn(slot, line, firstPage, endPage);
    }
  }

  /**
   * Once this has resolved, no page that was inserted or invalidated before will ever be returned as it was before that,
   * also after a crash. Rejects where that cannot be promised; whoever has newer bytes must keep them.
   */
  checkpoint(): Promise<void> {
    return this.#closing ?? this.#store.checkpoint();
  }

  /** Forgets every line of which `keeps` does not say that it may stay. A step for each slot. */
  retain(keeps: (firstPage: number, endPage: number) => boolean): void {
    for (let slot = 0; slot < this.#table.slots; slot++) {
      const line = this.#table.isUsed(slot) ? this.#table.lineAt(slot) : -1;
      if (line < 0 || keeps(line * LINE_PAGES, (line + 1) * LINE_PAGES)) continue;
      this.#invalidateIn(slot, line, line * LINE_PAGES, (line + 1) * LINE_PAGES);
    }
  }

  clear(): void {
    this.invalidate(0, Number.MAX_SAFE_INTEGER);
    this.#queues.clear();
  }

  /** Like `checkpoint`, in the form that is opened fastest. Nothing is there afterwards, and nothing is taken. */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  /** Adds the pages that are there to `cells`. */
  *tally(cells: RangeCells): Tally {
    if (this.#closing === null) yield* this.#table.tally(cells);
  }

  status(): ReadCacheStatus {
    const { state, failure } = this.#store;
    return {
      sizeBytes: this.#table.slots * LINE_BYTES,
      usedBytes: this.#table.usedSlots * LINE_BYTES,
      pages: this.#table.pages,
      hits: this.#hits,
      rotten: this.#rotten,
      readErrors: this.#readErrors,
      writeErrors: this.#writeErrors,
      evictions: this.#evictions,
      declined: this.#declined,
      indexError: state === 'kept' || failure === null ? null : describeError(failure),
    };
  }

  async #close(): Promise<void> {
    this.#writer.cancelAll();
    try {
      await this.#writer.idle();
      await this.#store.close();
    } finally {
      this.#file.close();
      this.#journal.close();
    }
  }

  #takes(bytes: number): boolean {
    if (this.#closing !== null || !this.#writer.hasRoomFor(bytes)) return false;
    return this.#options.clock.now() >= this.#pauseUntilMs;
  }

  /** The line's slot, or one that it gets now; -1 where there is none to be had. */
  #slotFor(line: number, wanted: boolean): number {
    const table = this.#table;
    let slot = table.find(line);
    if (slot >= 0) return slot;
    slot = table.freeSlot();
    if (slot < 0) {
      slot = this.#queues.evict();
      if (slot < 0) return slot;
      table.release(slot);
      this.#evictions++;
    }
    table.assign(slot, line);
    this.#queues.add(slot, line, wanted);
    return slot;
  }

  #invalidateIn(slot: number, line: number, firstPage: number, endPage: number): void {
    const from = Math.max(0, firstPage - line * LINE_PAGES);
    const to = Math.min(LINE_PAGES, endPage - line * LINE_PAGES);
    const pages = maskOf(from, to);
    this.#table.clearPages(slot, pages);
    this.#writer.cancel(slot, pages);
    this.#releaseIfEmpty(slot);
  }

  /** The pages are on the disk, as far as a read can tell. */
  #show(write: PageWrite): void {
    const { slot, from, data } = write;
    const firstPage = this.#table.lineAt(slot) * LINE_PAGES + from;
    for (let at = 0; at < data.length; at += PAGE_BYTES) {
      const index = at / PAGE_BYTES;
      if ((write.wanted & (1 << (from + index))) === 0) continue;
      const checksum = pageChecksum(firstPage + index, data, at);
      this.#table.setPage(slot, from + index, checksum);
    }
    // Not by a write that had been begun before the one that failed.
    if (this.#isFailing && this.#options.clock.now() >= this.#pauseUntilMs) {
      this.#isFailing = false;
      this.#options.log.info('the read cache takes pages again');
    }
    if (this.#changes.journal.count >= this.#changesMax) this.#store.checkpointSoon();
  }

  #pause(error: unknown): void {
    this.#writeErrors++;
    this.#pauseUntilMs = this.#options.clock.now() + PAUSE_MS;
    if (this.#isFailing) return;
    this.#isFailing = true;
    this.#options.log.warn('the read cache cannot be written to: what is read is not cached at present', {
      error: describeError(error),
    });
  }

  #releaseIfEmpty(slot: number): void {
    if (!this.#table.isUsed(slot) || this.#table.maskAt(slot) !== 0 || this.#writer.isBusy(slot)) return;
    this.#queues.remove(slot);
    this.#table.release(slot);
  }

  #dropBad(page: number, slot: number, error: unknown): void {
    if (error === null) this.#rotten++;
    else this.#readErrors++;
    const reason = error === null ? 'the checksum does not match' : describeError(error);
    this.#rot.add({ path: join(this.#options.directory, 'lines'), offset: page * PAGE_BYTES, reason });
    const index = page - this.#table.lineAt(slot) * LINE_PAGES;
    this.#table.clearPages(slot, maskOf(index, index + 1));
    this.#releaseIfEmpty(slot);
  }

  #use(slot: number): void {
    if (slot === this.#lastUsed) return;
    this.#lastUsed = slot;
    this.#queues.use(slot);
  }
}
