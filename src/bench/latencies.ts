/** What many operations of one kind took. */

export interface Latencies {
  readonly operations: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly maxMs: number;
}

/** Of at least one. */
export function latenciesOf(timesMs: readonly number[]): Latencies {
  const sorted = [...timesMs].sort((a, b) => a - b);
  const at = (share: number): number =>
    rounded(sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? 0);
  return { operations: sorted.length, p50Ms: at(0.5), p99Ms: at(0.99), maxMs: at(1) };
}

function rounded(ms: number): number {
  return Math.round(ms * 1000) / 1000;
}
