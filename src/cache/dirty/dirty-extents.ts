/** Which parts of a volume are data, and where: what the layout knows, with what is dirty laid over it. */
import type { Extent } from '../../layout/layout.ts';
import { DATA } from '../log/log-record.ts';
import { PAGE_BYTES, pageAfter, pageOf } from '../page.ts';
import type { DirtyStore } from './dirty-store.ts';

/** `dirty`: not in the bucket yet. `clean`: in the bucket, and at hand here. `absent`: in the bucket only, or nowhere. */
export type CacheState = 'dirty' | 'clean' | 'absent';

export interface StateExtent {
  readonly length: number;
  readonly hole: boolean;
  readonly zero: boolean;
  readonly state: CacheState;
}

/** Tells how many pages from `first` on are cached, or known to be zeros. */
export interface CleanCounter {
  countFrom(first: number, end: number): number;
}

/** Bytes, half-open. `zero`: they read as zeros. */
export interface DirtySpan {
  readonly from: number;
  readonly to: number;
  readonly zero: boolean;
}

/**
 * Adds the runs from `offset` on that `stored`, the layout's extents, cover; returns where they end. `dirty`: what is dirty of the
 * range, at least.
 */
export function overlayExtents(
  runs: RunList,
  stored: readonly Extent[],
  dirty: readonly DirtySpan[],
  clean: CleanCounter,
  offset: number,
): number {
  let next = 0;
  let at = offset;
  for (const extent of stored) {
    const extentEnd = at + extent.length;
    while (at < extentEnd) {
      while ((dirty[next]?.to ?? Number.POSITIVE_INFINITY) <= at) next++;
      const span = dirty[next];
      if (span !== undefined && span.from <= at) {
        const to = Math.min(span.to, extentEnd);
        runs.add(to - at, span.zero, span.zero, 'dirty');
        at = to;
      } else {
        const to = Math.min(span?.from ?? extentEnd, extentEnd);
        addClean(runs, clean, at, to, extent);
        at = to;
      }
    }
  }
  return at;
}

function addClean(runs: RunList, clean: CleanCounter, from: number, to: number, { hole, zero }: Extent): void {
  if (hole) {
    runs.add(to - from, hole, zero, 'absent');
    return;
  }
  for (let at = from; at < to; ) {
    const page = pageOf(at);
    const here = clean.countFrom(page, pageAfter(to));
    let until = page + here;
    // Looked at page by page only as far as there is no run of cached ones.
    if (here === 0) for (until = page + 1; until < pageAfter(to) && clean.countFrom(until, until + 1) === 0; ) until++;
    const runEnd = Math.min(to, until * PAGE_BYTES);
    runs.add(runEnd - at, hole, zero, here > 0 ? 'clean' : 'absent');
    at = runEnd;
  }
}

/**
 * What is dirty of [offset, end), in runs of bytes; ascending. A page of which only parts are dirty counts whole, and so does
 * one that is lost: what the bucket has for it is not what it holds.
 */
export function dirtySpans(store: DirtyStore, offset: number, end: number): DirtySpan[] {
  const { map, log, damaged } = store;
  const first = pageOf(offset);
  const endPage = pageAfter(end);
  const spans: { from: number; to: number; zero: boolean }[] = [];
  const add = (from: number, to: number, zero: boolean): void => {
    const last = spans.at(-1);
    if (last !== undefined && last.to === from && last.zero === zero) last.to = to;
    else if (to > from) spans.push({ from, to, zero });
  };
  const lost = damaged.pages.filter((page) => page >= first && page < endPage);
  const dirty = map.pagesIn(first, endPage);
  const pages = lost.length === 0 ? dirty : [...new Set([...dirty, ...lost])].sort((a, b) => a - b);
  let next = 0;
  const addPagesBefore = (limit: number): void => {
    for (let page = pages[next]; page !== undefined && page < limit; page = pages[++next]) {
      const isWhole = map.partial(page) === undefined && !damaged.has(page);
      const record = isWhole ? map.record(page) : -1;
      add(page * PAGE_BYTES, (page + 1) * PAGE_BYTES, record >= 0 && log.records.kind(record) !== DATA);
    }
  };
  for (const range of map.zeroRangesIn(first, endPage)) {
    addPagesBefore(range.first);
    let from = Math.max(range.first, first);
    for (let page = pages[next]; page !== undefined && page < range.end; page = pages[next]) {
      add(from * PAGE_BYTES, page * PAGE_BYTES, true);
      addPagesBefore(page + 1);
      from = page + 1;
    }
    add(from * PAGE_BYTES, Math.min(range.end, endPage) * PAGE_BYTES, true);
  }
  addPagesBefore(endPage);
  return spans;
}

/** Runs in order; adjacent ones alike are one. */
export class RunList {
  readonly list: { length: number; hole: boolean; zero: boolean; state: CacheState }[] = [];

  add(length: number, hole: boolean, zero: boolean, state: CacheState): void {
    if (length <= 0) return;
    const last = this.list.at(-1);
    if (last !== undefined && last.hole === hole && last.zero === zero && last.state === state) last.length += length;
    else this.list.push({ length, hole, zero, state });
  }
}
