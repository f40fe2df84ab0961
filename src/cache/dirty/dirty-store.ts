/** What has been written and is not in the bucket: the log, where each page is in it, and the pages that are lost. */
import { isStorageError, StorageError } from '../../lib/errors.ts';
import { DATA } from '../log/log-record.ts';
import type { DamagedPart } from '../log/log-replay.ts';
import type { WriteLog } from '../log/write-log.ts';
import { PAGE_BYTES, pageAfter, pageOf } from '../page.ts';
import type { DamagedPages } from './damaged-pages.ts';
import { DirtyMap } from './dirty-map.ts';
import { applyRecord, wholePage } from './record-map.ts';

/** Pages kept in memory because only a part of them is written and the rest is in the bucket. */
export const PARTIAL_PAGES_MAX = 8192;
const NOTHING: Buffer = Buffer.alloc(0);
const ZERO_PAGE: Buffer = Buffer.alloc(PAGE_BYTES);

/** The page as it is in the bucket, where that is known without asking: true, and its bytes in `target`. */
export type CleanPage = (page: number, target: Buffer) => boolean;

export class DirtyStore {
  readonly log: WriteLog;
  readonly map = new DirtyMap();
  readonly damaged: DamagedPages;
  readonly #cleanPage: CleanPage;

  constructor(log: WriteLog, damaged: DamagedPages, cleanPage: CleanPage) {
    this.log = log;
    this.damaged = damaged;
    this.#cleanPage = cleanPage;
  }

  /**
   * Takes up what the log held when it was opened, `damaged` parts of it excepted. `endPage`: the volume ends there; what lies
   * beyond is passed over. `givesUp`: what the disk cannot read is taken for damaged.
   */
  replay(endPage: number, damaged: readonly DamagedPart[], givesUp = false): void {
    const { records } = this.log;
    for (let number = records.first; number < records.end; number++) {
      const offset = records.offset(number);
      this.damaged.deleteRange(pageAfter(offset), pageOf(offset + records.length(number)));
      applyRecord(this.map, this.log, number, (page, error) => {
        if (givesUp && isStorageError(error)) this.damaged.add(page);
        else this.#noteUnreadable(page, error);
      });
    }
    for (const { number, index } of damaged) {
      const page = pageOf(records.offset(number)) + index;
      if (this.map.record(page) === number) this.damaged.add(page);
    }
    this.truncate(endPage);
  }

  /** Forgets everything from page `endPage` on. */
  truncate(endPage: number): void {
    this.map.truncate(endPage);
    this.damaged.deleteRange(endPage, Number.MAX_SAFE_INTEGER);
  }

  /** Whether a write may be appended at once. A longer one than `log.dataBytesMax` is to be split by the caller. */
  hasRoomFor(offset: number, length: number): boolean {
    const lead = offset % PAGE_BYTES;
    // As if both ends had to be filled up to whole pages.
    return this.log.hasRoom(offset - lead, pageAfter(offset + length) * PAGE_BYTES - (offset - lead));
  }

  /** The end of the piece of a write from `offset` on that makes one record. */
  pieceEnd(offset: number, end: number): number {
    return Math.min(end, pageOf(offset) * PAGE_BYTES + this.log.dataBytesMax);
  }

  /**
   * Appends one piece of a write. Pages of which it has only a part are completed where the rest is at hand, so that the
   * bucket need not be asked. There must be room. CORRUPT where the rest is damaged.
   */
  write(offset: number, data: Buffer): void {
    const end = offset + data.length;
    const firstPage = pageOf(offset);
    const lastPage = pageAfter(end) - 1;
    const leadBytes = offset - firstPage * PAGE_BYTES;
    const tailBytes = (lastPage + 1) * PAGE_BYTES - end;
    let lead = NOTHING;
    let tail = NOTHING;
    if (leadBytes > 0 || tailBytes > 0) {
      const headTo = firstPage === lastPage ? PAGE_BYTES - tailBytes : PAGE_BYTES;
      const headBase = leadBytes > 0 || firstPage === lastPage ? this.#base(firstPage, leadBytes, headTo) : null;
      const tailBase =
        firstPage === lastPage ? headBase : tailBytes > 0 ? this.#base(lastPage, 0, PAGE_BYTES - tailBytes) : null;
      if (headBase !== null) lead = headBase.subarray(0, leadBytes);
      if (tailBase !== null) tail = tailBase.subarray(PAGE_BYTES - tailBytes);
    }
    const number = this.log.appendData(offset - lead.length, lead, data, tail);
    this.#applied(number);
  }

  /** Zeroes whole pages [first, end). There must be room. */
  zeroPages(first: number, end: number): void {
    this.#applied(this.log.appendZero(first * PAGE_BYTES, (end - first) * PAGE_BYTES));
  }

  /**
   * Copies dirty pages from `page` on, as many as are in one place and before `end`, into `target` at `at`. Returns how many:
   * 0 where the page is not dirty, or only in part. CORRUPT where they are damaged. The caller has checked that the first of
   * them is sound; it ends before one that is not, of which the record may be older than what is lost.
   */
  readRun(page: number, end: number, target: Buffer, at: number): number {
    const record = this.map.record(page);
    if (record < 0 || this.map.partial(page) !== undefined) return 0;
    let to = page + 1;
    while (to < end && this.map.record(to) === record && !this.damaged.has(to) && this.map.partial(to) === undefined)
      to++;
    const bytes = target.subarray(at, at + (to - page) * PAGE_BYTES);
    if (this.log.records.kind(record) !== DATA) bytes.fill(0);
    else this.log.readSync(record, page - pageOf(this.log.records.offset(record)), to - page, bytes);
    return to - page;
  }

  /** CORRUPT where the newest bytes of the page are lost. */
  checkSound(page: number): void {
    if (!this.damaged.has(page)) return;
    throw new StorageError(
      'CORRUPT',
      `page ${page} of the volume was damaged on the cache disk before it was uploaded`,
    );
  }

  #applied(number: number): void {
    const { records } = this.log;
    const offset = records.offset(number);
    const end = offset + records.length(number);
    this.damaged.deleteRange(pageAfter(offset), pageOf(end));
    applyRecord(this.map, this.log, number, (page, error) => this.#noteUnreadable(page, error));
  }

  /** What the disk cannot read now it may be able to read later: only what has changed is lost. */
  #noteUnreadable(page: number, error: unknown): void {
    if (!isStorageError(error, 'CORRUPT')) throw error;
    this.damaged.add(page);
  }

  /** The whole page, where everything but its bytes [from, to) is known; else null. */
  #base(page: number, from: number, to: number): Buffer | null {
    this.checkSound(page);
    const partial = this.map.partial(page);
    if (partial !== undefined) {
      const complete = (from === 0 || partial.covers(0, from)) && (to === PAGE_BYTES || partial.covers(to, PAGE_BYTES));
      return complete ? partial.bytes : this.#completed(page);
    }
    const dirty = wholePage(this.map, this.log, page);
    if (dirty !== null) return dirty;
    const clean = Buffer.allocUnsafe(PAGE_BYTES);
    return this.#cleanPage(page, clean) ? clean : null;
  }

  /** A page of which parts are dirty, with the rest from where it is clean; null where that is not at hand. */
  #completed(page: number): Buffer | null {
    const whole = Buffer.from(ZERO_PAGE);
    if (!this.#cleanPage(page, whole)) return null;
    this.map.partial(page)?.overlay(whole);
    return whole;
  }
}
