/**
 * The whole blocks of the batch that is being sent. The layout answers for a block only once what it was given for it is stored,
 * which takes as long as the bucket is away; until then the pages of it that are not dirty can be had from here.
 */
import { PAGE_BYTES } from '../page.ts';

export class SentBlocks {
  readonly #blockPages: number;
  /** By the number of the block. */
  #blocks: ReadonlyMap<number, Buffer> = new Map();

  constructor(blockSizeBytes: number) {
    this.#blockPages = blockSizeBytes / PAGE_BYTES;
  }

  /** In place of those of the batch before. */
  set(blocks: ReadonlyMap<number, Buffer>): void {
    this.#blocks = blocks;
  }

  clear(): void {
    this.#blocks = new Map();
  }

  /** How many pages from `page` on, up to `end`, are here. */
  count(page: number, end: number): number {
    let at = page;
    while (at < end && this.#blocks.has(Math.floor(at / this.#blockPages))) {
      at = Math.min(end, (Math.floor(at / this.#blockPages) + 1) * this.#blockPages);
    }
    return at - page;
  }

  /** Copies pages from `page` on, up to `end`, into `target` from `at` on; returns how many: none, or those of one block. */
  read(page: number, end: number, target: Buffer, at: number): number {
    const block = Math.floor(page / this.#blockPages);
    const bytes = this.#blocks.get(block);
    if (bytes === undefined) return 0;
    const from = page - block * this.#blockPages;
    const pages = Math.min(end - page, this.#blockPages - from);
    bytes.copy(target, at, from * PAGE_BYTES, (from + pages) * PAGE_BYTES);
    return pages;
  }
}
