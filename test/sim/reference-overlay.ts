/** Bytes that were written and are not in the bucket, by page, each byte known or not. */
import type { BatchExtent } from '../../src/layout/layout.ts';

export const PAGE_BYTES = 4096;

interface Page {
  readonly bytes: Buffer;
  /** 1 where the byte was written. */
  readonly known: Buffer;
}

export class Overlay {
  readonly #pages = new Map<number, Page>();
  /** What is written after this one is closed. */
  next: Overlay | null = null;

  get isEmpty(): boolean {
    return this.#pages.size === 0;
  }

  touches(page: number): boolean {
    return this.#pages.has(page);
  }

  write(offset: number, length: number, data: Buffer | null): void {
    forEachPart(offset, length, (number, from, to, at) => {
      const page = this.#pageAt(number);
      if (data === null) page.bytes.fill(0, from, to);
      else data.copy(page.bytes, from, at, at + to - from);
      page.known.fill(1, from, to);
    });
  }

  /** All pages of the range are zeros now. */
  clearPagesOf(offset: number, length: number): void {
    forEachPart(offset, length, (number) => {
      if (this.#pages.has(number)) return;
      this.#pageAt(number).known.fill(1);
    });
  }

  forgetPagesOf(other: Overlay): void {
    for (const page of other.#pages.keys()) this.#pages.delete(page);
  }

  applyTo(bytes: Buffer, offset: number): void {
    forEachPart(offset, bytes.length, (number, from, to, at) => {
      const page = this.#pages.get(number);
      if (page === undefined) return;
      for (let index = from; index < to; index++) {
        if (page.known[index] === 1) bytes[at + index - from] = page.bytes[index] ?? 0;
      }
    });
  }

  /** Ascending runs of known bytes. */
  extents(): BatchExtent[] {
    const extents: BatchExtent[] = [];
    for (const number of [...this.#pages.keys()].sort((a, b) => a - b)) {
      const page = this.#pages.get(number);
      if (page === undefined) continue;
      for (let from = page.known.indexOf(1); from >= 0; ) {
        const end = page.known.indexOf(0, from);
        const to = end < 0 ? PAGE_BYTES : end;
        extents.push({ offset: number * PAGE_BYTES + from, data: Buffer.from(page.bytes.subarray(from, to)) });
        from = page.known.indexOf(1, to);
      }
    }
    return extents;
  }

  #pageAt(number: number): Page {
    let page = this.#pages.get(number);
    if (page === undefined) {
      page = { bytes: Buffer.alloc(PAGE_BYTES), known: Buffer.alloc(PAGE_BYTES) };
      this.#pages.set(number, page);
    }
    return page;
  }
}

function forEachPart(
  offset: number,
  length: number,
  visit: (page: number, from: number, to: number, at: number) => void,
): void {
  for (let at = 0; at < length; ) {
    const page = Math.floor((offset + at) / PAGE_BYTES);
    const from = offset + at - page * PAGE_BYTES;
    const to = Math.min(PAGE_BYTES, from + length - at);
    visit(page, from, to, at);
    at += to - from;
  }
}
