/** Ranges of pages that a zeroing has covered, whatever their length, each with the record that did it. */

/** Half-open. */
export interface ZeroRange {
  readonly first: number;
  readonly end: number;
  readonly record: number;
}

/** Sorted and disjoint: a later range cuts what it covers out of earlier ones. */
export class ZeroRanges {
  #ranges: ZeroRange[] = [];

  get count(): number {
    return this.#ranges.length;
  }

  /** The range that covers the page, or null. */
  find(page: number): ZeroRange | null {
    if (this.#ranges.length === 0) return null;
    const range = this.#ranges[this.#firstEndingAfter(page)];
    return range !== undefined && range.first <= page ? range : null;
  }

  /** The ranges that overlap [first, end), ascending. */
  overlapping(first: number, end: number): ZeroRange[] {
    const from = this.#firstEndingAfter(first);
    let to = from;
    for (let range = this.#ranges[to]; range !== undefined && range.first < end; range = this.#ranges[++to]);
    return this.#ranges.slice(from, to);
  }

  add(first: number, end: number, record: number): void {
    this.#replace(first, end, [{ first, end, record }]);
  }

  /** Nothing of [first, end) is in a range afterwards. */
  cut(first: number, end: number): void {
    this.#replace(first, end, []);
  }

  /** Removes the ranges of records before `record`. */
  dropBefore(record: number): void {
    if (this.#ranges.some((range) => range.record < record)) {
      this.#ranges = this.#ranges.filter((range) => range.record >= record);
    }
  }

  #replace(first: number, end: number, middle: readonly ZeroRange[]): void {
    const from = this.#firstEndingAfter(first);
    const covered = this.overlapping(first, end);
    const head = covered[0];
    const tail = covered.at(-1);
    this.#ranges.splice(
      from,
      covered.length,
      ...(head !== undefined && head.first < first ? [{ ...head, end: first }] : []),
      ...middle,
      ...(tail !== undefined && tail.end > end ? [{ ...tail, first: end }] : []),
    );
  }

  /** Index of the first range that ends after `page`. */
  #firstEndingAfter(page: number): number {
    let low = 0;
    let high = this.#ranges.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((this.#ranges[middle] as ZeroRange).end > page) high = middle;
      else low = middle + 1;
    }
    return low;
  }
}
