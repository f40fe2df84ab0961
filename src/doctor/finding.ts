/** What a check of the doctor says: how something is, and what to do about it. */

/** `fail`: it does not work, or data is in danger. `warn`: it works, and something is worth knowing. */
export type FindingState = 'ok' | 'warn' | 'fail';

export interface Finding {
  /** The check's name: `cache disk`. Stays the same from version to version. */
  readonly check: string;
  readonly state: FindingState;
  readonly message: string;
  /** What to do; null where there is nothing to be done. */
  readonly remedy: string | null;
}

/** A finding before it is known which check made it. */
export type Result = Omit<Finding, 'check'>;

/** One thing that is looked at. */
export interface Check {
  readonly name: string;
  /** What it rejects with is a finding too: that it failed. */
  run(signal: AbortSignal): readonly Result[] | Promise<readonly Result[]>;
}

export function ok(message: string): Result {
  return { state: 'ok', message, remedy: null };
}

export function warn(message: string, remedy: string | null = null): Result {
  return { state: 'warn', message, remedy };
}

export function fail(message: string, remedy: string): Result {
  return { state: 'fail', message, remedy };
}
