/** What is known of each block's object: one byte a block, in pages that exist only where blocks differ. */

import { type RangeCells, TALLY_STEPS, type Tally } from '../../lib/range-cells.ts';

/** Nobody has looked yet. The survey may settle it. */
export const UNKNOWN = 0;
/** No object: the block is zeros. */
export const ABSENT = 1;
/** There is an object. */
export const PRESENT = 2;
/**
 * A write of it is under way, or ended without a clear answer: only a request to the store can tell, and the survey,
 * whose listing may be older than the write, must not.
 */
export const UNCERTAIN = 3;

/** As PRESENT, and a put over it is under way, or ended without a clear answer: the object has its old bytes or the new ones. */
export const REPLACED = 4;

export type BlockState = typeof UNKNOWN | typeof ABSENT | typeof PRESENT | typeof UNCERTAIN | typeof REPLACED;

const PAGE_SHIFT = 16;
const PAGE_BLOCKS = 1 << PAGE_SHIFT;

/**
 * Starts with every block UNKNOWN. A page none of whose blocks was ever set costs nothing, so a 10 TiB volume with little
 * in it stays small however small its blocks are.
 */
export class BlockStates {
  #count: number;
  readonly #pages: (Uint8Array | undefined)[] = [];
  /** The state of every block of a page that does not exist. */
  #background: BlockState = UNKNOWN;

  constructor(blockCount: number) {
    this.#count = blockCount;
  }

  get blockCount(): number {
    return this.#count;
  }

  get(block: number): BlockState {
    const page = this.#pages[block >>> PAGE_SHIFT];
    return page === undefined ? this.#background : (page[block & (PAGE_BLOCKS - 1)] as BlockState);
  }

  set(block: number, state: BlockState): void {
    const index = block >>> PAGE_SHIFT;
    let page = this.#pages[index];
    if (page === undefined) {
      if (state === this.#background) return;
      page = new Uint8Array(PAGE_BLOCKS).fill(this.#background);
      this.#pages[index] = page;
    }
    page[block & (PAGE_BLOCKS - 1)] = state;
  }

  /** Settles a block from a listing: only where nothing better is known. */
  noteListed(block: number): void {
    if (this.get(block) === UNKNOWN) this.set(block, PRESENT);
  }

  /** Settles every block still UNKNOWN as ABSENT: a listing of all blocks has ended, and they were not in it. */
  noteRestAbsent(): void {
    for (const page of this.#pages) {
      if (page === undefined) continue;
      for (let at = page.indexOf(UNKNOWN); at !== -1; at = page.indexOf(UNKNOWN, at + 1)) page[at] = ABSENT;
    }
    if (this.#background === UNKNOWN) this.#background = ABSENT;
  }

  /** Changes the number of blocks. Blocks that are added have the state of those never set, also where one was set beyond the end. */
  resize(blockCount: number): void {
    const kept = Math.min(this.#count, blockCount);
    this.#pages.length = Math.min(this.#pages.length, Math.ceil(kept / PAGE_BLOCKS));
    this.#pages[kept >>> PAGE_SHIFT]?.fill(this.#background, kept & (PAGE_BLOCKS - 1));
    this.#count = blockCount;
  }

  /**
   * The first block at or after `from` and before `end` that is in `state` (`wanted`) or in any other (not `wanted`); `end`
   * where there is none. Skips pages that do not exist at a step each.
   */
  next(state: BlockState, wanted: boolean, from: number, end: number): number {
    let block = from;
    while (block < end) {
      const page = this.#pages[block >>> PAGE_SHIFT];
      const pageEnd = Math.min(end, pageStart(block) + PAGE_BLOCKS);
      if (page === undefined) {
        if ((this.#background === state) === wanted) return block;
        block = pageEnd;
        continue;
      }
      for (; block < pageEnd; block++) if ((page[block & (PAGE_BLOCKS - 1)] === state) === wanted) return block;
    }
    return end;
  }

  /** Adds the blocks that have an object, or may have one, to `stored`, and those that are UNKNOWN to `unknown`. */
  *tally(blockSizeBytes: number, stored: RangeCells, unknown: RangeCells): Tally {
    const end = Math.min(this.#count, Math.ceil(stored.end / blockSizeBytes));
    for (let chunk = Math.floor(stored.offset / blockSizeBytes); chunk < end; chunk += TALLY_STEPS) {
      const chunkEnd = Math.min(end, chunk + TALLY_STEPS);
      for (let block = chunk; block < chunkEnd; ) {
        const state = this.get(block);
        const runEnd = this.next(state, false, block, chunkEnd);
        const cells = state === UNKNOWN ? unknown : stored;
        if (state !== ABSENT) cells.add(block * blockSizeBytes, runEnd * blockSizeBytes);
        block = runEnd;
      }
      yield;
    }
  }

  /** How many blocks of [from, end) are in `state`. */
  count(state: BlockState, from = 0, end = this.#count): number {
    let total = 0;
    let block = from;
    while (block < end) {
      const page = this.#pages[block >>> PAGE_SHIFT];
      const pageEnd = Math.min(end, pageStart(block) + PAGE_BLOCKS);
      if (page === undefined) total += this.#background === state ? pageEnd - block : 0;
      else for (let at = block; at < pageEnd; at++) if (page[at & (PAGE_BLOCKS - 1)] === state) total++;
      block = pageEnd;
    }
    return total;
  }
}

function pageStart(block: number): number {
  return block - (block & (PAGE_BLOCKS - 1));
}
