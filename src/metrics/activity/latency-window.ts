/** Latencies of the time between two looks at a histogram that only grows. */

export class LatencyWindow {
  readonly #bounds: readonly number[];
  #before: readonly number[] = [];
  #grown: readonly number[] = [];

  /** `bounds`: upper ones of the buckets, each twice the one before; one more bucket takes what is above the last. */
  constructor(bounds: readonly number[]) {
    this.#bounds = bounds;
  }

  /** `counts`: by bucket, since the start, of several histograms to be taken together. */
  look(counts: readonly (readonly number[])[]): void {
    const total = Array.from({ length: this.#bounds.length + 1 }, (_, bucket) =>
      counts.reduce((sum, one) => sum + (one[bucket] ?? 0), 0),
    );
    this.#grown = total.map((count, bucket) => count - (this.#before[bucket] ?? 0));
    this.#before = total;
  }

  /** What so large a `share` of those since the last look took at most, in the unit of the bounds; null where there were none. */
  quantile(share: number): number | null {
    const total = this.#grown.reduce((sum, count) => sum + count, 0);
    if (total <= 0) return null;
    let below = 0;
    for (const [bucket, count] of this.#grown.entries()) {
      if (count > 0 && below + count >= share * total) {
        const upper = this.#bounds[Math.min(bucket, this.#bounds.length - 1)] as number;
        // Within a bucket they are taken to be spread evenly over its octave.
        return upper * 2 ** ((share * total - below) / count - 1);
      }
      below += count;
    }
    return null;
  }
}
