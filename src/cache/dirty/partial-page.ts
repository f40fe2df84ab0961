/** A page of which only parts have been written, and whose rest is in the bucket and nowhere else: kept in memory. */
import { PAGE_BYTES } from '../page.ts';

/** Bytes of the page, half-open. */
export interface ByteSpan {
  readonly from: number;
  readonly to: number;
}

export class PartialPage {
  readonly bytes = Buffer.alloc(PAGE_BYTES);
  /** The record that wrote to it last. */
  record = 0;
  /** What was written: ascending, disjoint, not adjacent. */
  #spans: ByteSpan[] = [];

  get spans(): readonly ByteSpan[] {
    return this.#spans;
  }

  /** Whether nothing of the page is missing. */
  get isWhole(): boolean {
    return this.#spans.length === 1 && this.covers(0, PAGE_BYTES);
  }

  covers(from: number, to: number): boolean {
    return this.#spans.some((span) => span.from <= from && to <= span.to);
  }

  write(at: number, data: Buffer, record: number): void {
    data.copy(this.bytes, at);
    this.record = record;
    let from = at;
    let to = at + data.length;
    const apart: ByteSpan[] = [];
    for (const span of this.#spans) {
      if (span.to < from || to < span.from) apart.push(span);
      else {
        from = Math.min(from, span.from);
        to = Math.max(to, span.to);
      }
    }
    this.#spans = [...apart, { from, to }].sort((a, b) => a.from - b.from);
  }

  /** Puts what was written over `page`, the page's bytes as they are in the bucket. */
  overlay(page: Buffer): void {
    for (const { from, to } of this.#spans) this.bytes.copy(page, from, from, to);
  }

  /** As it is now, whatever is written later. */
  copy(): PartialPage {
    const copy = new PartialPage();
    this.bytes.copy(copy.bytes);
    copy.record = this.record;
    copy.#spans = this.#spans;
    return copy;
  }
}
