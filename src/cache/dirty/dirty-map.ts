/** Where the newest bytes of every page are that the bucket does not have yet. */
import type { RangeCells, Tally } from '../../lib/range-cells.ts';
import { PAGE_BYTES, pageAfter, pageOf } from '../page.ts';
import { PageIndex } from './page-index.ts';
import { PartialPage } from './partial-page.ts';
import { type ZeroRange, ZeroRanges } from './zero-ranges.ts';

/** A zeroing of fewer pages is kept page by page, a longer one as a range. */
const RANGE_PAGES_MIN = 64;

/**
 * A page is found in the first of these that knows it: the partial pages, the pages of records, the zeroed ranges. A
 * record here is the number of one in the log; a page of a record that is a zeroing reads as zeros.
 */
export class DirtyMap {
  readonly #pages = new PageIndex();
  readonly #partials = new Map<number, PartialPage>();
  readonly #zeroes = new ZeroRanges();

  /** Bytes that are not in the bucket yet, zeroed ranges not counted. */
  get bytes(): number {
    return (this.#pages.size + this.#partials.size) * PAGE_BYTES;
  }

  get partialCount(): number {
    return this.#partials.size;
  }

  get isEmpty(): boolean {
    return this.#pages.size === 0 && this.#partials.size === 0 && this.#zeroes.count === 0;
  }

  partial(page: number): PartialPage | undefined {
    return this.#partials.size === 0 ? undefined : this.#partials.get(page);
  }

  /** The record that holds or zeroes the page, or -1. */
  record(page: number): number {
    const record = this.#pages.get(page);
    if (record >= 0 || this.#zeroes.count === 0) return record;
    return this.#zeroes.find(page)?.record ?? -1;
  }

  has(page: number): boolean {
    return this.record(page) >= 0 || this.#partials.has(page);
  }

  /** Pages [first, end) are whole in `record` now. */
  setPages(first: number, end: number, record: number): void {
    for (let page = first; page < end; page++) this.#pages.set(page, record);
    this.#dropPartials(first, end);
  }

  /** Pages [first, end) are zeros since `record`. */
  setZeroes(first: number, end: number, record: number): void {
    if (end - first < RANGE_PAGES_MIN) {
      this.setPages(first, end, record);
      return;
    }
    this.#pages.deleteRange(first, end);
    this.#dropPartials(first, end);
    this.#zeroes.add(first, end, record);
  }

  /** A part of the page was written by `record`. `base`: the whole page before that, where it is dirty already. */
  setPart(page: number, at: number, data: Buffer, record: number, base: Buffer | null): void {
    let partial = this.#partials.get(page);
    if (partial === undefined) {
      partial = new PartialPage();
      this.#partials.set(page, partial);
      if (base !== null) partial.write(0, base, record);
    }
    partial.write(at, data, record);
  }

  /** Forgets what records before `record` hold: it is in the bucket. */
  forgetBefore(record: number, pages: Iterable<number>): void {
    for (const page of pages) {
      const holder = this.#pages.get(page);
      if (holder >= 0 && holder < record) this.#pages.delete(page);
      const partial = this.#partials.get(page);
      if (partial !== undefined && partial.record < record) this.#partials.delete(page);
    }
    this.#zeroes.dropBefore(record);
  }

  /** Nothing from page `first` on is remembered any more. */
  truncate(first: number): void {
    this.#pages.deleteRange(first, Number.MAX_SAFE_INTEGER);
    this.#dropPartials(first, Number.MAX_SAFE_INTEGER);
    this.#zeroes.cut(first, Number.MAX_SAFE_INTEGER);
  }

  /** Pages of [first, end) that are dirty one by one, ascending; those of zeroed ranges are not among them. */
  pagesIn(first: number, end: number): number[] {
    const pages = Array.from(this.#pages.pagesIn(first, end));
    if (this.#partials.size === 0) return pages;
    const all = new Set(pages);
    for (const page of this.#partials.keys()) if (page >= first && page < end) all.add(page);
    return [...all].sort((a, b) => a - b);
  }

  zeroRangesIn(first: number, end: number): ZeroRange[] {
    return this.#zeroes.overlapping(first, end);
  }

  /** Adds what is dirty to `cells`. What was written after its range had been zeroed counts twice. */
  *tally(cells: RangeCells): Tally {
    yield* this.#pages.tally(cells);
    for (const page of this.#partials.keys()) cells.add(page * PAGE_BYTES, (page + 1) * PAGE_BYTES);
    for (const { first, end } of this.#zeroes.overlapping(pageOf(cells.offset), pageAfter(cells.end))) {
      cells.add(first * PAGE_BYTES, end * PAGE_BYTES);
    }
  }

  #dropPartials(first: number, end: number): void {
    if (this.#partials.size === 0) return;
    if (end - first <= this.#partials.size) {
      for (let page = first; page < end; page++) this.#partials.delete(page);
      return;
    }
    for (const page of this.#partials.keys()) if (page >= first && page < end) this.#partials.delete(page);
  }
}
