/** A metric as it is described and read: its numbers stay where they are counted, and are collected when somebody asks. */
import type { Metric, Registry } from 'prom-client';

export type Labels = Readonly<Record<string, string>>;

export interface Sample {
  readonly labels?: Labels;
  readonly value: number;
}

/** One histogram of a family. */
export interface Distribution {
  readonly labels: Labels;
  /** Upper bounds, inclusive, in the unit of the name. */
  readonly bounds: readonly number[];
  /** By bucket, not cumulative; one more than bounds. */
  readonly counts: readonly number[];
  readonly sum: number;
}

interface Described {
  readonly name: string;
  readonly help: string;
  readonly labels: readonly string[];
}

/** `S` is what it is read from. */
export interface NumberFamily<S> extends Described {
  readonly type: 'counter' | 'gauge';
  readonly read: (from: S) => readonly Sample[];
}

export interface HistogramFamily<S> extends Described {
  readonly type: 'histogram';
  readonly read: (from: S) => readonly Distribution[];
}

export type Family<S> = NumberFamily<S> | HistogramFamily<S>;

interface ReadValue {
  readonly labels: Labels;
  readonly value: number;
  readonly metricName?: string;
}

/** Has the registry tell the family, read anew each time. */
export function register<S>(registry: Registry, family: Family<S>, from: () => S): void {
  const { name, help, type } = family;
  const get = async (): Promise<object> => ({ name, help, type, values: valuesOf(family, from()) });
  // prom-client's own classes keep the numbers themselves. What a registry asks of a metric is no more than this.
  registry.registerMetric({ name, help, type, get } as unknown as Metric);
}

function valuesOf<S>(family: Family<S>, from: S): ReadValue[] {
  if (family.type !== 'histogram') return family.read(from).map(({ labels = {}, value }) => ({ labels, value }));
  return family.read(from).flatMap((distribution) => histogramValues(family.name, distribution));
}

/** As the text format has it: cumulative, the last bucket without a bound. */
function histogramValues(name: string, { labels, bounds, counts, sum }: Distribution): ReadValue[] {
  let total = 0;
  const buckets = counts.map((count, index) => {
    total += count;
    const bound = bounds[index];
    const le = bound === undefined ? '+Inf' : String(bound);
    return { metricName: `${name}_bucket`, labels: { ...labels, le }, value: total };
  });
  return [
    ...buckets,
    { metricName: `${name}_sum`, labels, value: sum },
    { metricName: `${name}_count`, labels, value: total },
  ];
}
