/** What several rounds of one measurement come to. */

export interface Summary {
  readonly median: number;
  readonly min: number;
  readonly max: number;
  /** In the order they were measured. */
  readonly samples: readonly number[];
}

/** @throws RangeError without a sample */
export function summarize(samples: readonly number[]): Summary {
  const sorted = [...samples].sort((a, b) => a - b);
  const [min, max] = [sorted[0], sorted.at(-1)];
  const [low, high] = [sorted[(sorted.length - 1) >> 1], sorted[sorted.length >> 1]];
  if (min === undefined || max === undefined || low === undefined || high === undefined) {
    throw new RangeError('there is nothing to summarize');
  }
  return { median: (low + high) / 2, min, max, samples: [...samples] };
}

/**
 * One series over another, round by round: what was measured at nearly the same time is compared, so that a machine that
 * slows down half way slows both.
 */
export function summarizeRatio(ours: readonly number[], theirs: readonly number[]): Summary {
  if (ours.length !== theirs.length) throw new RangeError('two series of different lengths have no ratio');
  return summarize(ours.map((value, round) => value / (theirs[round] ?? Number.NaN)));
}
