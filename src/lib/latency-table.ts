/** Latencies of several kinds of work, a histogram each, in typed arrays: recording one makes no object and looks nothing up. */

/** The first bound is 2^4 us, each further one twice the one before, the last 2^23 us (8.4 s). */
const FIRST_BOUND_LOG2 = 4;
const LAST_BOUND_LOG2 = 23;
const BOUNDS = LAST_BOUND_LOG2 - FIRST_BOUND_LOG2 + 1;
/** One more takes what is above the last bound. */
const BUCKETS = BOUNDS + 1;
/** More would not fit the 32 bits that a logarithm is taken of; it is far above the last bound. */
const MICROSECONDS_MAX = 2 ** 31;

/** Upper bounds of the buckets, each inclusive. */
export const LATENCY_BOUNDS_SECONDS: readonly number[] = Object.freeze(
  Array.from({ length: BOUNDS }, (_, index) => 2 ** (FIRST_BOUND_LOG2 + index) / 1e6),
);

export class LatencyTable {
  readonly #counts: Float64Array;
  readonly #sumsMs: Float64Array;

  constructor(rows: number) {
    this.#counts = new Float64Array(rows * BUCKETS);
    this.#sumsMs = new Float64Array(rows);
  }

  record(row: number, durationMs: number): void {
    const microseconds = Math.min(Math.ceil(durationMs * 1000), MICROSECONDS_MAX);
    // The smallest k for which microseconds <= 2^k.
    const log2 = microseconds <= 1 ? 0 : 32 - Math.clz32(microseconds - 1);
    const bucket = Math.min(Math.max(log2 - FIRST_BOUND_LOG2, 0), BOUNDS);
    const at = row * BUCKETS + bucket;
    this.#counts[at] = (this.#counts[at] ?? 0) + 1;
    this.#sumsMs[row] = (this.#sumsMs[row] ?? 0) + durationMs;
  }

  /** By bucket, not cumulative: one for each of LATENCY_BOUNDS_SECONDS, and one for those above. */
  counts(row: number): readonly number[] {
    return [...this.#counts.subarray(row * BUCKETS, (row + 1) * BUCKETS)];
  }

  sumSeconds(row: number): number {
    return (this.#sumsMs[row] ?? 0) / 1000;
  }
}
