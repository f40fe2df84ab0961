/** One scenario from its beginning to its end, whatever becomes of it. */
import type { Lifetime } from '../support/cleanup.ts';
import { type Facility, missingTools, reasonsWithout, reasonToSkip, type Tool } from '../support/tools.ts';
import { compare, type MetricResult } from './comparison.ts';
import type { Scenario, ScenarioResult } from './scenario.ts';

export interface RunScenarioOptions {
  readonly rounds: number;
  readonly seconds: number;
  readonly env: Readonly<Record<string, string>>;
  say(text: string): void;
  /** What the machine lacks of these, in words; null where it has them all. */
  lacking(tools: readonly Tool[], facilities: readonly Facility[]): string | null;
  /** Aborts when the run is told to stop: then somebody else takes down what the scenario has put in place. */
  readonly stopping: AbortSignal;
}

export async function runScenario(scenario: Scenario, options: RunScenarioOptions): Promise<ScenarioResult> {
  const { rounds, seconds, env, say, stopping, lacking } = options;
  const results: MetricResult[] = [];
  const notes: string[] = [];
  const reason = lacking(scenario.tools, scenario.facilities);
  const outcome = (skipped: string | null, failed: string | null): ScenarioResult => ({
    name: scenario.name,
    results,
    notes,
    skipped,
    failed,
  });
  if (reason !== null) return outcome(reason, null);
  const ends: (() => void | Promise<void>)[] = [];
  const lifetime: Lifetime = { after: (end) => void ends.push(end) };
  let failed: string | null = null;
  try {
    await scenario.run({
      lifetime,
      rounds,
      seconds,
      env,
      say,
      note: (text) => void notes.push(text),
      has: (what, tools, facilities = []) => {
        const reasonLeftOut = lacking(tools, facilities);
        if (reasonLeftOut !== null) notes.push(`${what} is left out: ${reasonLeftOut}`);
        return reasonLeftOut === null;
      },
      compare: async (comparison) => {
        const label = comparison.metrics[0]?.label ?? scenario.name;
        const progress = (round: number, subject: string): void =>
          say(`${scenario.name}: ${label}: ${round === 0 ? 'warming up' : `round ${round} of ${rounds}`}: ${subject}`);
        results.push(...(await compare(comparison, { rounds, seconds, progress })));
      },
    });
  } catch (error) {
    failed = String(error);
  }
  // Taking the same things down from two sides would get in each other's way.
  if (stopping.aborted) await new Promise(() => {});
  for (const end of ends) {
    try {
      await end();
    } catch (error) {
      failed = failed === null ? String(error) : `${failed}; ${String(error)}`;
    }
  }
  return outcome(null, failed);
}

/** The machine as it is. */
export function lackingHere(tools: readonly Tool[], facilities: readonly Facility[]): string | null {
  const reasons = [reasonToSkip(missingTools(tools), false), ...reasonsWithout(facilities)];
  return reasons.filter((reason) => reason !== null).join('; ') || null;
}
