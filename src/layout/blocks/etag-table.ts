/** The ETag that each block's object should have: 32 bits of it a block, in pages that exist only where blocks are stored. */
import { crc32 } from 'node:zlib';

const PAGE_SHIFT = 12;
const PAGE_BLOCKS = 1 << PAGE_SHIFT;
/** Of volumes with more blocks nothing is remembered: it would be too much memory. */
const BLOCKS_MAX = 2 ** 25;

export class EtagTable {
  #count: number;
  readonly #pages: (Uint32Array | undefined)[] = [];

  constructor(blockCount: number) {
    this.#count = blockCount;
  }

  /** From now on the block's object has this ETag; null: that is not known. Nor is it where the store tells none. */
  set(block: number, etag: string | null): void {
    if (this.#count > BLOCKS_MAX) return;
    const isKnown = etag !== null && etag !== '';
    const index = block >>> PAGE_SHIFT;
    let page = this.#pages[index];
    if (page === undefined) {
      if (!isKnown) return;
      page = new Uint32Array(PAGE_BLOCKS);
      this.#pages[index] = page;
    }
    page[block & (PAGE_BLOCKS - 1)] = isKnown ? digest(etag) : 0;
  }

  /** False where it should be another one. */
  mayBe(block: number, etag: string): boolean {
    const known = this.#pages[block >>> PAGE_SHIFT]?.[block & (PAGE_BLOCKS - 1)] ?? 0;
    return known === 0 || known === digest(etag);
  }

  /** Of blocks that are added nothing is known, also where something was set beyond the end. */
  resize(blockCount: number): void {
    const kept = blockCount > BLOCKS_MAX ? 0 : Math.min(this.#count, blockCount);
    this.#count = blockCount;
    this.#pages.length = Math.min(this.#pages.length, Math.ceil(kept / PAGE_BLOCKS));
    this.#pages[kept >>> PAGE_SHIFT]?.fill(0, kept & (PAGE_BLOCKS - 1));
  }
}

/** Never 0, which stands for one that is not known. */
function digest(etag: string): number {
  return crc32(etag) || 1;
}
