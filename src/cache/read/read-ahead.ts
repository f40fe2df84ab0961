/** Recognises sequential streams among the reads of a volume, and how far ahead of each it is worth reading. */
import { PAGE_BYTES } from '../page.ts';

const STREAMS_MAX = 16;
/** Reads that follow one another before a stream is believed in. */
const RUN_MIN = 2;
const WINDOW_PAGES_MIN = (256 * 1024) / PAGE_BYTES;
/** Enough for 160 MB/s where a request takes 100 ms. */
const WINDOW_BYTES_MAX = 16 * 1024 * 1024;
/** A tenth of the cache is for what nobody has asked for yet: what is read ahead must still be there when its turn comes. */
const WINDOW_CACHE_SHARE = 1 / 10;
/** The window is so many times what the stream has read. */
const WINDOW_GROWTH = 2;
/** A wide window moves on by whole steps, so that as much as it has is under way all the time; a smaller one by half of itself. */
const STEP_PAGES = (1024 * 1024) / PAGE_BYTES;
/** Several requests of one stream are under way at once, and may arrive in another order. */
const SLACK_PAGES = (1024 * 1024) / PAGE_BYTES;

interface Stream {
  /** Where the next read is expected. */
  nextPage: number;
  run: number;
  pagesRead: number;
  /** Everything below has been asked for. */
  aheadPage: number;
  usedAt: number;
}

export interface AheadRange {
  readonly first: number;
  readonly end: number;
}

export class ReadAhead {
  readonly #streams: Stream[] = [];
  readonly #windowPagesMax: number;
  #clock = 0;

  constructor(cacheSizeBytes: number) {
    const bytes = Math.min(WINDOW_BYTES_MAX, cacheSizeBytes * WINDOW_CACHE_SHARE);
    this.#windowPagesMax = Math.max(WINDOW_PAGES_MIN, Math.floor(bytes / PAGE_BYTES));
  }

  /** Notes a read of pages [first, end). Returns whether it belongs to a stream. */
  note(first: number, end: number): boolean {
    this.#clock++;
    const stream = this.#find(first, end);
    if (stream === null) {
      this.#begin(end);
      return false;
    }
    stream.usedAt = this.#clock;
    if (end > stream.nextPage) {
      stream.pagesRead += end - Math.max(first, stream.nextPage);
      stream.nextPage = end;
      stream.run++;
    }
    return stream.run >= RUN_MIN;
  }

  /**
   * What to read ahead after a read that ended at page `end` and belongs to a stream; null where enough has been asked for.
   * `volumeEnd`: nothing from there on.
   */
  next(end: number, volumeEnd: number): AheadRange | null {
    const stream = this.#streams.find(({ nextPage }) => nextPage === end);
    if (stream === undefined || stream.run < RUN_MIN) return null;
    const windowPages = Math.min(this.#windowPagesMax, Math.max(WINDOW_PAGES_MIN, WINDOW_GROWTH * stream.pagesRead));
    const first = Math.max(stream.aheadPage, end);
    const aheadEnd = windowEnd(end, windowPages, volumeEnd);
    const isLast = aheadEnd === volumeEnd;
    if (aheadEnd <= first || (aheadEnd - first < Math.min(STEP_PAGES, windowPages / 2) && !isLast)) return null;
    stream.aheadPage = aheadEnd;
    return { first, end: aheadEnd };
  }

  #find(first: number, end: number): Stream | null {
    for (const stream of this.#streams) {
      if (first <= stream.nextPage + SLACK_PAGES && end + SLACK_PAGES >= stream.nextPage && this.#near(stream, first)) {
        return stream;
      }
    }
    return null;
  }

  /** A young stream must be followed exactly: reads that are merely close to one another are no stream. */
  #near(stream: Stream, first: number): boolean {
    return stream.run >= RUN_MIN || first === stream.nextPage;
  }

  #begin(nextPage: number): void {
    const fresh = { nextPage, run: 0, pagesRead: 0, aheadPage: 0, usedAt: this.#clock };
    if (this.#streams.length < STREAMS_MAX) {
      this.#streams.push(fresh);
      return;
    }
    const oldest = this.#streams.reduce((a, b) => (b.usedAt < a.usedAt ? b : a));
    Object.assign(oldest, fresh);
  }
}

/** The end of a window that begins at page `from`: of a wide one, that of a step. */
function windowEnd(from: number, windowPages: number, volumeEnd: number): number {
  const end = from + windowPages;
  if (end >= volumeEnd) return volumeEnd;
  return windowPages < 2 * STEP_PAGES ? end : end - (end % STEP_PAGES);
}
