/** Runs the doctor's checks one after another, each with a deadline: none can keep the others from being told. */
import type { Clock } from '../lib/clock.ts';
import { raceAbort, withDeadline } from '../lib/deadline.ts';
import { describeError, StorageError } from '../lib/errors.ts';
import { type Check, type Finding, fail, type Result } from './finding.ts';

/** So long a check may take: those of the bucket make several requests, each with a deadline of its own. */
const CHECK_TIMEOUT_MS = 30_000;

export interface RunOptions {
  readonly clock: Clock;
  readonly signal: AbortSignal;
  /** Called with each finding as soon as there is one. */
  readonly onFinding: (finding: Finding) => void;
}

/** Rejects with CANCELLED where `signal` aborts, and never otherwise. */
export async function runChecks(
  checks: readonly Check[],
  { clock, signal, onFinding }: RunOptions,
): Promise<Finding[]> {
  const findings: Finding[] = [];
  for (const check of checks) {
    const results = await resultsOf(check, clock, signal);
    for (const result of results) {
      const finding = { check: check.name, ...result };
      findings.push(finding);
      onFinding(finding);
    }
  }
  return findings;
}

async function resultsOf(check: Check, clock: Clock, signal: AbortSignal): Promise<readonly Result[]> {
  const results = await withDeadline(clock, CHECK_TIMEOUT_MS, (until) => resultsUntil(check, until), signal);
  if (signal.aborted) throw new StorageError('CANCELLED', 'interrupted', { cause: signal.reason });
  return results;
}

async function resultsUntil(check: Check, until: AbortSignal): Promise<readonly Result[]> {
  // A check that does not heed the signal is not waited for either.
  const work = Promise.resolve().then(() => check.run(until));
  try {
    if (await raceAbort(work, until)) return await work;
  } catch (error) {
    if (!until.aborted) return [fail(describeError(error), 'see the message; --log-level debug tells more')];
  }
  work.catch(() => {});
  return [fail(`no answer within ${CHECK_TIMEOUT_MS / 1000} s`, 'find out what it waits for: a disk, or the network')];
}
