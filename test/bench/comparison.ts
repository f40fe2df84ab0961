/** Subjects measured side by side: in turns within each round, so that the machine's moods meet all of them. */
import { type Summary, summarize, summarizeRatio } from './statistics.ts';

/** One run of a subject: values by the keys of the comparison's metrics. */
export interface Measured {
  readonly values: Readonly<Record<string, number>>;
  /** CPU time of the subject's own processes, per operation. */
  readonly cpuUsPerOp?: number;
}

export interface Subject {
  /** `bucketdisk`, `nbdkit memory`. */
  readonly name: string;
  measure(seconds: number): Promise<Measured>;
}

export interface Wanted {
  /** The name of another subject: ours is wanted at this ratio to it, at least or, where less is better, at most. */
  readonly against: string;
  readonly ratio: number;
}

export interface Metric {
  readonly key: string;
  /** `4k randread q16, unix`. */
  readonly label: string;
  /** `op/s`, `MB/s`, `ms`. */
  readonly unit: string;
  readonly better: 'more' | 'less';
  readonly wanted?: readonly Wanted[];
  /** Ours is wanted on this side of it, whatever others do. */
  readonly limit?: number;
}

/** The first subject is ours; ratios are its value over another's. */
export interface Comparison {
  readonly metrics: readonly Metric[];
  readonly subjects: readonly Subject[];
  /** Seconds each subject runs once before it counts; 0 for none. */
  readonly warmupSeconds: number;
}

export interface SubjectResult {
  readonly name: string;
  readonly value: Summary;
  readonly cpuUsPerOp: Summary | null;
}

export interface RatioResult {
  readonly against: string;
  readonly ratio: Summary;
  readonly wanted: number | null;
}

export interface MetricResult {
  readonly label: string;
  readonly unit: string;
  readonly better: 'more' | 'less';
  readonly subjects: readonly SubjectResult[];
  readonly ratios: readonly RatioResult[];
  readonly limit: number | null;
  /** Whether all that is wanted was seen, by the medians; null where nothing is. */
  readonly met: boolean | null;
}

export interface RunOptions {
  readonly rounds: number;
  readonly seconds: number;
  progress(round: number, subject: string): void;
}

export async function compare(comparison: Comparison, options: RunOptions): Promise<MetricResult[]> {
  const { subjects, metrics, warmupSeconds } = comparison;
  if (warmupSeconds > 0) {
    for (const subject of subjects) {
      options.progress(0, subject.name);
      await subject.measure(warmupSeconds);
    }
  }
  const measured = subjects.map((): Measured[] => []);
  for (let round = 1; round <= options.rounds; round++) {
    // Whoever goes first finds the machine as the other one left it: they take turns at that too.
    const order = subjects.map((_, index) => (round % 2 === 1 ? index : subjects.length - 1 - index));
    for (const index of order) {
      const subject = subjects[index];
      if (subject === undefined) continue;
      options.progress(round, subject.name);
      measured[index]?.push(await subject.measure(options.seconds));
    }
  }
  return metrics.map((metric) => resultOf(metric, subjects, measured));
}

function resultOf(metric: Metric, subjects: readonly Subject[], measured: readonly Measured[][]): MetricResult {
  const { label, unit, better, limit = null } = metric;
  const series = measured.map((runs) => runs.map(({ values }) => valueFor(metric, values)));
  const results = subjects.map(({ name }, index) => ({
    name,
    value: summarize(series[index] ?? []),
    cpuUsPerOp: cpuOf(measured[index] ?? []),
  }));
  const ratios = subjects.slice(1).map(({ name }, index) => ({
    against: name,
    ratio: summarizeRatio(series[0] ?? [], series[index + 1] ?? []),
    wanted: metric.wanted?.find(({ against }) => against === name)?.ratio ?? null,
  }));
  const checks = ratios.filter(({ wanted }) => wanted !== null).map(({ ratio, wanted }) => [ratio.median, wanted ?? 0]);
  if (limit !== null) checks.push([results[0]?.value.median ?? Number.NaN, limit]);
  const met = checks.every(([seen = Number.NaN, wanted = 0]) => (better === 'more' ? seen >= wanted : seen <= wanted));
  return { label, unit, better, subjects: results, ratios, limit, met: checks.length === 0 ? null : met };
}

function valueFor({ key, label }: Metric, values: Readonly<Record<string, number>>): number {
  const value = values[key];
  if (value === undefined || !Number.isFinite(value)) throw new Error(`nothing was measured for ${label}`);
  return value;
}

function cpuOf(runs: readonly Measured[]): Summary | null {
  const values = runs.map(({ cpuUsPerOp }) => cpuUsPerOp).filter((value) => value !== undefined);
  return values.length === 0 ? null : summarize(values);
}
