/** Reads pages from the data file, and believes only those that match their checksum. */
import { checksumOf } from '../../lib/checksum.ts';
import type { DiskFile } from '../../lib/disk.ts';
import { PAGE_BYTES } from '../page.ts';
import { LINE_BYTES, LINE_PAGES, lineOf, runLength, scatter } from './geometry.ts';
import type { SlotTable } from './slot-table.ts';

/** Of a page's bytes from `at` on, with the page's number in it: neither another page's bytes nor another page's checksum matches. */
export function pageChecksum(page: number, bytes: Buffer, at: number): number {
  return (checksumOf(bytes, at, at + PAGE_BYTES) ^ scatter(page)) >>> 0;
}

export interface LineReaderOptions {
  readonly file: DiskFile;
  readonly table: SlotTable;
  /** `error` where the disk has failed; else the bytes do not match. */
  readonly onBad: (page: number, slot: number, error: unknown) => void;
  /** Pages of the slot were read. */
  readonly onUsed: (slot: number) => void;
}

export class LineReader {
  readonly #options: LineReaderOptions;

  constructor(options: LineReaderOptions) {
    this.#options = options;
  }

  /** How many pages from `first` on, up to `end`, are there. */
  lookup(first: number, end: number): number {
    const { table } = this.#options;
    for (let page = first; page < end; ) {
      const line = lineOf(page);
      const slot = table.find(line);
      const from = page - line * LINE_PAGES;
      const count = slot < 0 ? 0 : runLength(table.maskAt(slot), from);
      page += count;
      if (count === 0 || from + count < LINE_PAGES) return Math.min(page, end) - first;
    }
    return end - first;
  }

  /** Puts up to `count` pages into `target`, and returns how many from `first` on are good. */
  read(first: number, count: number, target: Buffer, targetAt: number, counts: boolean): number {
    const { table } = this.#options;
    let done = 0;
    while (done < count) {
      const page = first + done;
      const slot = table.find(lineOf(page));
      const length = slot < 0 ? 0 : this.#runLength(page, slot, count - done);
      if (length === 0) return done;
      const at = targetAt + done * PAGE_BYTES;
      const good = this.#readRun(page, slot, target.subarray(at, at + length * PAGE_BYTES));
      if (counts) this.#use(page, slot, good);
      done += good;
      if (good < length) return done;
    }
    return done;
  }

  /** How many pages from `page` on, up to `limit`, are there and lie one after another. */
  #runLength(page: number, slot: number, limit: number): number {
    const { table } = this.#options;
    const line = lineOf(page);
    const from = page - line * LINE_PAGES;
    let length = runLength(table.maskAt(slot), from);
    for (let step = 1; length < limit && from + length === step * LINE_PAGES; step++) {
      if (slot + step >= table.slots || table.lineAt(slot + step) !== line + step) break;
      length += runLength(table.maskAt(slot + step), 0);
    }
    return Math.min(length, limit);
  }

  #readRun(page: number, slot: number, target: Buffer): number {
    const from = page - lineOf(page) * LINE_PAGES;
    const pages = target.length / PAGE_BYTES;
    let bytesRead: number;
    try {
      bytesRead = this.#options.file.readSync(target, slot * LINE_BYTES + from * PAGE_BYTES);
    } catch (error) {
      if (pages > 1) return this.#readEach(page, slot, target);
      this.#options.onBad(page, slot, error);
      return 0;
    }
    for (let index = 0; index < pages; index++) {
      if (!this.#isGood(page + index, slot, from + index, target, index, bytesRead)) {
        this.#options.onBad(page + index, slot + lineOf(from + index), null);
        return index;
      }
    }
    return pages;
  }

  #isGood(page: number, slot: number, from: number, target: Buffer, index: number, bytesRead: number): boolean {
    const end = (index + 1) * PAGE_BYTES;
    if (end > bytesRead) return false;
    // The run goes on in the slots behind.
    const steps = lineOf(from);
    const expected = this.#options.table.checksumAt(slot + steps, from - steps * LINE_PAGES);
    return pageChecksum(page, target, end - PAGE_BYTES) === expected;
  }

  /** To find the page that the disk fails to read. */
  #readEach(page: number, slot: number, target: Buffer): number {
    const from = page - lineOf(page) * LINE_PAGES;
    for (let at = 0; at < target.length; at += PAGE_BYTES) {
      const index = at / PAGE_BYTES;
      const one = target.subarray(at, at + PAGE_BYTES);
      if (this.#readRun(page + index, slot + lineOf(from + index), one) === 0) return index;
    }
    return target.length / PAGE_BYTES;
  }

  #use(page: number, slot: number, pages: number): void {
    if (pages === 0) return;
    const steps = lineOf(page + pages - 1) - lineOf(page);
    for (let step = 0; step <= steps; step++) this.#options.onUsed(slot + step);
  }
}
