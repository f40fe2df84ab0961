/** Zeroing as a request that waits for room: parts of pages are written, whole pages are one record whatever their number. */
import { type DirtyStore, PARTIAL_PAGES_MAX } from './dirty/dirty-store.ts';
import type { IntakeJob } from './intake.ts';
import { PAGE_BYTES, pageAfter, pageOf } from './page.ts';

const ZERO_PAGE: Buffer = Buffer.alloc(PAGE_BYTES);

export class ZeroJob implements IntakeJob {
  readonly offset: number;
  readonly end: number;
  readonly bytes = 0;
  readonly #store: DirtyStore;
  #at: number;

  constructor(store: DirtyStore, offset: number, length: number) {
    this.#store = store;
    this.offset = offset;
    this.end = offset + length;
    this.#at = offset;
  }

  step(): boolean {
    const store = this.#store;
    while (this.#at < this.end) {
      const first = pageAfter(this.#at);
      const last = pageOf(this.end);
      if (this.#at === first * PAGE_BYTES && first < last) {
        if (!store.log.hasRoom(0, 0)) return false;
        store.zeroPages(first, last);
        this.#at = last * PAGE_BYTES;
        continue;
      }
      const to = Math.min(this.end, (pageOf(this.#at) + 1) * PAGE_BYTES);
      if (store.map.partialCount > PARTIAL_PAGES_MAX || !store.hasRoomFor(this.#at, to - this.#at)) return false;
      store.write(this.#at, ZERO_PAGE.subarray(0, to - this.#at));
      this.#at = to;
    }
    return true;
  }
}
