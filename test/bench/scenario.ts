/** What a scenario is given, and what it gives back. */
import type { Lifetime } from '../support/cleanup.ts';
import type { Facility, Tool } from '../support/tools.ts';
import type { Comparison, MetricResult } from './comparison.ts';

export interface Bench {
  /** Ends with the scenario; whatever is put in place is registered with it. */
  readonly lifetime: Lifetime;
  readonly rounds: number;
  readonly seconds: number;
  /** Added to the environment of our own processes: profiling, where it is asked for. */
  readonly env: Readonly<Record<string, string>>;
  /** Measures, and adds the results to the scenario's. */
  compare(comparison: Comparison): Promise<void>;
  /** Something the reader of the results should know. */
  note(text: string): void;
  /** What is going on, for whoever watches. */
  say(text: string): void;
  /** Whether the machine has all of these; where not, it is noted that `what` is left out. */
  has(what: string, tools: readonly Tool[], facilities?: readonly Facility[]): boolean;
}

export interface Scenario {
  readonly name: string;
  /** A line for `--list`. */
  readonly about: string;
  /** Without these the scenario is skipped. */
  readonly tools: readonly Tool[];
  readonly facilities: readonly Facility[];
  run(bench: Bench): Promise<void>;
}

export interface ScenarioResult {
  readonly name: string;
  readonly results: readonly MetricResult[];
  readonly notes: readonly string[];
  /** Why it was not run, or null. */
  readonly skipped: string | null;
  /** Why it came to no end, or null. */
  readonly failed: string | null;
}
