/** What is in which slot: typed arrays for what the cache knows of each slot, and a hash table from lines to slots. */
import { type RangeCells, TALLY_STEPS, type Tally } from '../../lib/range-cells.ts';
import { PAGE_BYTES } from '../page.ts';
import { Bitmap } from './bitmap.ts';
import { bitCount, indexOf, LINE_BYTES, LINE_PAGES, runLength, scatter } from './geometry.ts';

const NO_LINE = -1;
const EMPTY = -1;
/** Probes stay short up to a load of two thirds. */
const HASH_ENTRIES_PER_SLOT = 1.5;
const HASH_ENTRIES_MIN = 16;

/** Told of the slots whose pages change, to write them to the index some time. */
export interface SlotChanges {
  mark(slot: number): void;
}

export class SlotTable {
  readonly slots: number;
  readonly #changes: SlotChanges;
  readonly #lines: Float64Array;
  readonly #masks: Uint16Array;
  readonly #checksums: Uint32Array;
  readonly #hash: Int32Array;
  readonly #free: Bitmap;
  /** Where the last free slot was found: lines that come together lie together. */
  #cursor = 0;
  #pages = 0;

  constructor(slots: number, changes: SlotChanges) {
    this.slots = slots;
    this.#changes = changes;
    this.#lines = new Float64Array(slots).fill(NO_LINE);
    this.#masks = new Uint16Array(slots);
    this.#checksums = new Uint32Array(slots * LINE_PAGES);
    this.#hash = new Int32Array(Math.max(HASH_ENTRIES_MIN, Math.ceil(slots * HASH_ENTRIES_PER_SLOT))).fill(EMPTY);
    this.#free = new Bitmap(slots);
    this.#free.fill();
  }

  /** Pages that are there. */
  get pages(): number {
    return this.#pages;
  }

  get usedSlots(): number {
    return this.slots - this.#free.count;
  }

  /** The slot of the line, or -1. */
  find(line: number): number {
    const hash = this.#hash;
    for (let at = this.#homeOf(line); ; at = at + 1 === hash.length ? 0 : at + 1) {
      const slot = hash[at] as number;
      if (slot === EMPTY || this.#lines[slot] === line) return slot;
    }
  }

  isUsed(slot: number): boolean {
    return this.#lines[slot] !== NO_LINE;
  }

  lineAt(slot: number): number {
    return this.#lines[slot] as number;
  }

  /** The pages of the slot that are there, a bit each. */
  maskAt(slot: number): number {
    return this.#masks[slot] as number;
  }

  checksumAt(slot: number, page: number): number {
    return this.#checksums[slot * LINE_PAGES + page] as number;
  }

  /** A free slot, after the one found before where there is one; -1 where none is. */
  freeSlot(): number {
    let slot = this.#free.next(this.#cursor);
    if (slot < 0) slot = this.#free.next(0);
    if (slot >= 0) this.#cursor = slot + 1;
    return slot;
  }

  /** Gives a free slot to a line that has none, without pages. */
  assign(slot: number, line: number): void {
    this.#lines[slot] = line;
    this.#free.delete(slot);
    const hash = this.#hash;
    let at = this.#homeOf(line);
    while (hash[at] !== EMPTY) at = at + 1 === hash.length ? 0 : at + 1;
    hash[at] = slot;
  }

  /** Frees the slot; its pages are gone. */
  release(slot: number): void {
    this.clearPages(slot, 0xffff);
    this.#unhash(slot);
    this.#lines[slot] = NO_LINE;
    this.#free.add(slot);
  }

  setPage(slot: number, page: number, checksum: number): void {
    const mask = this.#masks[slot] as number;
    if ((mask & (1 << page)) === 0) this.#pages++;
    this.#masks[slot] = mask | (1 << page);
    this.#checksums[slot * LINE_PAGES + page] = checksum;
    this.#changes.mark(slot);
  }

  /** Sets all pages of a slot that has none, with their checksums from `words` at `at` on. Not a change: it comes from the index. */
  restorePages(slot: number, mask: number, words: Uint32Array, at: number): void {
    const checksums = this.#checksums;
    let target = slot * LINE_PAGES;
    let source = at;
    for (let left = mask; left !== 0; left >>>= 1, target++) {
      if ((left & 1) !== 0) checksums[target] = words[source++] as number;
    }
    this.#masks[slot] = mask;
    this.#pages += source - at;
  }

  clearPages(slot: number, pages: number): void {
    const mask = this.#masks[slot] as number;
    const cleared = mask & pages;
    if (cleared === 0) return;
    this.#masks[slot] = mask & ~pages;
    this.#pages -= bitCount(cleared);
    this.#changes.mark(slot);
  }

  /** Adds the pages that are there to `cells`. */
  *tally(cells: RangeCells): Tally {
    const firstLine = Math.floor(cells.offset / LINE_BYTES);
    const lastLine = Math.floor((cells.end - 1) / LINE_BYTES);
    for (let slot = 0; slot < this.slots; slot++) {
      const line = this.#lines[slot] as number;
      if (line >= firstLine && line <= lastLine) {
        // A run of pages at a time: mostly there is one.
        const mask = this.#masks[slot] as number;
        for (let page = 0; page < LINE_PAGES; ) {
          const length = runLength(mask, page);
          const from = line * LINE_BYTES + page * PAGE_BYTES;
          if (length > 0) cells.add(from, from + length * PAGE_BYTES);
          page += length + 1;
        }
      }
      if (slot % TALLY_STEPS === TALLY_STEPS - 1) yield;
    }
  }

  #homeOf(line: number): number {
    return indexOf(scatter(line), this.#hash.length);
  }

  #unhash(slot: number): void {
    const hash = this.#hash;
    const size = hash.length;
    let gap = this.#homeOf(this.#lines[slot] as number);
    while (hash[gap] !== slot) gap = gap + 1 === size ? 0 : gap + 1;
    // Those behind move up where they would not be found past the gap.
    for (let at = gap + 1 === size ? 0 : gap + 1; hash[at] !== EMPTY; at = at + 1 === size ? 0 : at + 1) {
      const home = this.#homeOf(this.#lines[hash[at] as number] as number);
      if (distance(home, at, size) < distance(gap, at, size)) continue;
      hash[gap] = hash[at] as number;
      gap = at;
    }
    hash[gap] = EMPTY;
  }
}

/** Steps from one entry of a table of `size` entries to another, forwards. */
function distance(from: number, to: number, size: number): number {
  return to >= from ? to - from : to - from + size;
}
