/** From page numbers to the record of the log that holds the page: a hash table in typed arrays. */
import { type RangeCells, TALLY_STEPS, type Tally } from '../../lib/range-cells.ts';
import { PAGE_BYTES } from '../page.ts';

const CAPACITY_MIN = 1024;
const EMPTY = -1;
/** Knuth's multiplier, 2^32 divided by the golden ratio: neighbours are scattered. */
const SCATTER = 0x9e3779b1;
const HIGH_FACTOR = 1 / 2 ** 32;

/** Open addressing with linear probing, at most half full; what is removed leaves no mark behind. */
export class PageIndex {
  #capacity = CAPACITY_MIN;
  #shift = 32 - Math.log2(CAPACITY_MIN);
  #pages = new Float64Array(CAPACITY_MIN).fill(EMPTY);
  #records = new Float64Array(CAPACITY_MIN);
  #size = 0;

  get size(): number {
    return this.#size;
  }

  /** The record's number, or -1. */
  get(page: number): number {
    if (this.#size === 0) return EMPTY;
    const mask = this.#capacity - 1;
    for (let at = this.#slotOf(page); ; at = (at + 1) & mask) {
      const found = this.#pages[at];
      if (found === page) return this.#records[at] as number;
      if (found === EMPTY) return EMPTY;
    }
  }

  /** True where the page was not there yet. */
  set(page: number, record: number): boolean {
    const mask = this.#capacity - 1;
    let at = this.#slotOf(page);
    for (; this.#pages[at] !== EMPTY; at = (at + 1) & mask) {
      if (this.#pages[at] !== page) continue;
      this.#records[at] = record;
      return false;
    }
    this.#pages[at] = page;
    this.#records[at] = record;
    this.#size++;
    if (this.#size * 2 > this.#capacity) this.#resize(this.#capacity * 2);
    return true;
  }

  /** True where the page was there. */
  delete(page: number): boolean {
    if (this.#size === 0) return false;
    const mask = this.#capacity - 1;
    let at = this.#slotOf(page);
    for (; this.#pages[at] !== page; at = (at + 1) & mask) if (this.#pages[at] === EMPTY) return false;
    // Those behind move up where they would not be found past the gap.
    for (let next = (at + 1) & mask; this.#pages[next] !== EMPTY; next = (next + 1) & mask) {
      const home = this.#slotOf(this.#pages[next] as number);
      if (((next - home) & mask) < ((next - at) & mask)) continue;
      this.#pages[at] = this.#pages[next] as number;
      this.#records[at] = this.#records[next] as number;
      at = next;
    }
    this.#pages[at] = EMPTY;
    this.#size--;
    return true;
  }

  /** Removes the pages of [first, end): at a step each, or a step for each entry, whichever are fewer. */
  deleteRange(first: number, end: number, onDelete?: (page: number, record: number) => void): void {
    if (this.#size === 0) return;
    if (end - first <= this.#capacity) {
      for (let page = first; page < end; page++) {
        const record = onDelete === undefined ? 0 : this.get(page);
        if (record !== EMPTY && this.delete(page)) onDelete?.(page, record);
      }
      return;
    }
    for (const page of this.pagesIn(first, end)) {
      const record = this.get(page);
      this.delete(page);
      onDelete?.(page, record);
    }
  }

  /** The pages of [first, end) that are there, ascending. */
  pagesIn(first: number, end: number): Float64Array {
    const found = new Float64Array(Math.min(this.#size, end - first));
    let count = 0;
    if (end - first <= this.#capacity) {
      for (let page = first; page < end; page++) if (this.get(page) !== EMPTY) found[count++] = page;
      return found.subarray(0, count);
    }
    for (const page of this.#pages) if (page >= first && page < end) found[count++] = page;
    return found.subarray(0, count).sort();
  }

  /** Adds the pages that are there to `cells`. */
  *tally(cells: RangeCells): Tally {
    for (let at = 0; at < this.#pages.length; at++) {
      const page = this.#pages[at] as number;
      if (page !== EMPTY) cells.add(page * PAGE_BYTES, (page + 1) * PAGE_BYTES);
      if (at % TALLY_STEPS === TALLY_STEPS - 1) yield;
    }
  }

  clear(): void {
    this.#size = 0;
    this.#pages.fill(EMPTY);
  }

  #slotOf(page: number): number {
    const high = (page * HIGH_FACTOR) | 0;
    return Math.imul((page | 0) ^ Math.imul(high, SCATTER), SCATTER) >>> this.#shift;
  }

  #resize(capacity: number): void {
    const pages = this.#pages;
    const records = this.#records;
    this.#capacity = capacity;
    this.#shift = 32 - Math.log2(capacity);
    this.#pages = new Float64Array(capacity).fill(EMPTY);
    this.#records = new Float64Array(capacity);
    this.#size = 0;
    for (let at = 0; at < pages.length; at++) {
      if (pages[at] !== EMPTY) this.set(pages[at] as number, records[at] as number);
    }
  }
}
