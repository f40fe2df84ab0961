/** Recognises sequential streams among the reads of a volume, and how far ahead of each it is worth reading. */
import { PAGE_BYTES } from '../page.ts';

const STREAMS_MAX = 16;
/** Reads that follow one another before a stream is believed in. */
const RUN_MIN = 2;
const WINDOW_PAGES_MIN = (256 * 1024) / PAGE_BYTES;
const WINDOW_PAGES_MAX = (8 * 1024 * 1024) / PAGE_BYTES;
/** Several requests of one stream are under way at once, and may arrive in another order. */
const SLACK_PAGES = (1024 * 1024) / PAGE_BYTES;

interface Stream {
  /** Where the next read is expected. */
  nextPage: number;
  run: number;
  windowPages: number;
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
  #clock = 0;

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
    if (stream.aheadPage - end > stream.windowPages / 2) return null;
    const first = Math.max(stream.aheadPage, end);
    stream.windowPages = Math.min(WINDOW_PAGES_MAX, stream.windowPages * 2);
    const aheadEnd = Math.min(end + stream.windowPages, volumeEnd);
    if (aheadEnd <= first) return null;
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
    const fresh = { nextPage, run: 0, windowPages: WINDOW_PAGES_MIN, aheadPage: 0, usedAt: this.#clock };
    if (this.#streams.length < STREAMS_MAX) {
      this.#streams.push(fresh);
      return;
    }
    const oldest = this.#streams.reduce((a, b) => (b.usedAt < a.usedAt ? b : a));
    Object.assign(oldest, fresh);
  }
}
