/** Pages that are in the bucket as they are here: from the read cache, known to be zeros, or in a block that is being sent. */
import type { Layout } from '../layout/layout.ts';
import { PAGE_BYTES } from './page.ts';
import type { ReadCache } from './read-cache/read-cache.ts';
import type { SentBlocks } from './upload/sent-blocks.ts';
import type { CleanPages } from './upload/upload-batch.ts';

export class CleanReader implements CleanPages {
  readonly #cache: ReadCache;
  readonly #layout: Layout;
  readonly #sent: SentBlocks;
  #suspended = false;

  constructor(cache: ReadCache, layout: Layout, sent: SentBlocks) {
    this.#cache = cache;
    this.#layout = layout;
    this.#sent = sent;
  }

  /** While it is true the cached pages are left alone: nobody knows yet whether they are still those of the bucket. */
  set suspended(value: boolean) {
    this.#suspended = value;
  }

  get suspended(): boolean {
    return this.#suspended;
  }

  read(first: number, end: number, target: Buffer): number {
    return this.readAt(first, end, target, 0, false);
  }

  /** As `read`, into `target` from `at` on. `counts`: they are in use, and worth keeping. */
  readAt(first: number, end: number, target: Buffer, at: number, counts: boolean): number {
    let page = first;
    while (page < end) {
      const targetAt = at + (page - first) * PAGE_BYTES;
      const cached = this.#cached(page, end);
      const pages =
        (cached > 0
          ? this.#cache.read(page, cached, target, targetAt, counts)
          : this.#readZeros(page, end, target, targetAt)) || this.#sent.read(page, end, target, targetAt);
      if (pages === 0) break;
      page += pages;
    }
    return page - first;
  }

  /** How many pages from `first` on need not be fetched. */
  countFrom(first: number, end: number): number {
    let page = first;
    while (page < end) {
      const pages = this.#cached(page, end) || this.#zeros(page, end) || this.#sent.count(page, end);
      if (pages === 0) break;
      page += pages;
    }
    return page - first;
  }

  #cached(first: number, end: number): number {
    return this.#suspended ? 0 : this.#cache.lookup(first, end);
  }

  #readZeros(first: number, end: number, target: Buffer, at: number): number {
    const pages = this.#zeros(first, end);
    target.fill(0, at, at + pages * PAGE_BYTES);
    return pages;
  }

  #zeros(first: number, end: number): number {
    return Math.floor(this.#layout.zerosFrom(first * PAGE_BYTES, (end - first) * PAGE_BYTES) / PAGE_BYTES);
  }
}
