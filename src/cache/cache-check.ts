/** What the local disk holds of a volume, for scans: checked a little at a time, and taken from there for repairs. */
import type { Layout } from '../layout/layout.ts';
import { isStorageError } from '../lib/errors.ts';
import { isAllZero } from '../lib/zeros.ts';
import type { DirtyStore } from './dirty/dirty-store.ts';
import { PAGE_BYTES, pageOf } from './page.ts';
import { LINE_BYTES, LINE_PAGES } from './read-cache/geometry.ts';
import type { ReadCache } from './read-cache/read-cache.ts';

/** Pages of a line. */
export interface CheckedSlot {
  readonly checkedPages: number;
  /** Did not match their checksums, and are cached no more. */
  readonly rottenPages: readonly number[];
  /** Are not zeros, and are in no object: there was one once. */
  readonly lostPages: readonly number[];
}

const NOTHING: CheckedSlot = { checkedPages: 0, rottenPages: [], lostPages: [] };

export interface CacheCheckOptions {
  readonly store: DirtyStore;
  readonly cache: ReadCache;
  readonly layout: Layout;
  /** Whether cached pages are known to be those of the bucket. */
  readonly isTrusted: () => boolean;
}

export class CacheCheck {
  readonly #store: DirtyStore;
  readonly #cache: ReadCache;
  readonly #layout: Layout;
  readonly #isTrusted: () => boolean;
  readonly #line = Buffer.alloc(LINE_BYTES);

  constructor({ store, cache, layout, isTrusted }: CacheCheckOptions) {
    this.#store = store;
    this.#cache = cache;
    this.#layout = layout;
    this.#isTrusted = isTrusted;
  }

  /** Lines of cached pages, used or not: to be checked one by one. */
  get slots(): number {
    return this.#cache.slots;
  }

  /** Whether something is cached there of which no object is known: cheap, as nothing is read. */
  isOdd(slot: number): boolean {
    const cached = this.#cache.pagesOf(slot);
    if (cached === null || !this.#isTrusted()) return false;
    for (let index = 0; index < LINE_PAGES; index++) {
      if ((cached.mask & (1 << index)) !== 0 && this.#isKnownZero(cached.firstPage + index)) return true;
    }
    return false;
  }

  /** At once: what is cached, dirty and known of the bucket is of one moment. */
  checkSlot(slot: number): CheckedSlot {
    const checked = this.#cache.verifySlot(slot, this.#line);
    if (checked === null) return NOTHING;
    const { firstPage, good, bad } = checked;
    const rottenPages: number[] = [];
    const lostPages: number[] = [];
    let checkedPages = 0;
    for (let index = 0; index < LINE_PAGES; index++) {
      const page = firstPage + index;
      if ((bad & (1 << index)) !== 0) rottenPages.push(page);
      if (((good | bad) & (1 << index)) === 0) continue;
      checkedPages++;
      if ((good & (1 << index)) !== 0 && this.#isLost(page, index)) lostPages.push(page);
    }
    return { checkedPages, rottenPages, lostPages };
  }

  /** Pages that are not in the bucket, as they are at this moment; and those of which the newest bytes are known to be lost. */
  dirtyPages(): { readonly pages: readonly number[]; readonly damaged: readonly number[] } {
    return {
      pages: this.#store.map.pagesIn(0, this.#layout.sizeBytes / PAGE_BYTES),
      damaged: this.#store.damaged.pages,
    };
  }

  /** Why the bytes of the page cannot be read from the log; null where they can, or are not there any more. */
  checkDirtyPage(page: number): string | null {
    if (this.#store.map.record(page) < 0 || this.#store.map.partial(page) !== undefined) return null;
    try {
      this.#store.readRun(page, page + 1, this.#line, 0);
      return null;
    } catch (error) {
      if (!isStorageError(error)) throw error;
      return error.message;
    }
  }

  /** The newest bytes of whole pages that are dirty or cached; null where any is not here, or may not be believed. */
  here(offset: number, length: number): Buffer | null {
    const { map, damaged } = this.#store;
    if (!this.#isTrusted()) return null;
    const first = pageOf(offset);
    const end = first + length / PAGE_BYTES;
    const bytes = Buffer.allocUnsafe(length);
    for (let page = first; page < end; ) {
      if (damaged.has(page) || map.partial(page) !== undefined) return null;
      const at = (page - first) * PAGE_BYTES;
      const pages = map.has(page)
        ? this.#store.readRun(page, page + 1, bytes, at)
        : this.#cache.read(page, 1, bytes, at, false);
      if (pages === 0) return null;
      page += pages;
    }
    return bytes;
  }

  /** What is being zeroed is dirty until the cache has forgotten it. */
  #isLost(page: number, index: number): boolean {
    if (this.#store.map.has(page) || this.#store.damaged.has(page)) return false;
    if (!this.#isTrusted() || !this.#isKnownZero(page)) return false;
    return !isAllZero(this.#line.subarray(index * PAGE_BYTES, (index + 1) * PAGE_BYTES));
  }

  #isKnownZero(page: number): boolean {
    return this.#layout.zerosFrom(page * PAGE_BYTES, PAGE_BYTES) === PAGE_BYTES;
  }
}
