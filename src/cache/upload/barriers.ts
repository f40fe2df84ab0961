/** Where batches may be cut: the ends of what flushes have covered. */

export class Barriers {
  /** Record numbers, ascending. */
  #numbers: number[] = [];

  /** Everything before record `number` belongs before a flush. */
  add(number: number): void {
    if (number > (this.#numbers.at(-1) ?? 0)) this.#numbers.push(number);
  }

  /** The last barrier behind `first`, at `end` or before it; null where there is none. */
  lastWithin(first: number, end: number): number | null {
    let low = 0;
    let high = this.#numbers.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((this.#numbers[middle] as number) > end) high = middle;
      else low = middle + 1;
    }
    const last = this.#numbers[low - 1];
    return last !== undefined && last > first ? last : null;
  }

  /** Forgets those at `number` and before. */
  dropUpTo(number: number): void {
    const keep = this.#numbers.findIndex((one) => one > number);
    this.#numbers = keep < 0 ? [] : this.#numbers.slice(keep);
  }
}
