/** What can be wrong with a configuration, told all at once. */
import { StorageError } from '../lib/errors.ts';

export interface Problem {
  /** `volumes.media.size`; the environment variable or file itself where it is not about one setting. */
  readonly path: string;
  /** The value given, as text, secrets masked; null where there is none or it must not be shown. */
  readonly value: string | null;
  /** What is wrong, and what is expected. */
  readonly message: string;
  /** Where the value came from: `bucketdisk.json5:7`, `BUCKETDISK_STORE_URL`, `--set store.url`. */
  readonly source: string;
}

/** Everything that is wrong with the configuration. `message` has a line for each problem. */
export class ConfigError extends StorageError {
  readonly problems: readonly Problem[];
  /** Values that must never be printed, as far as they are known. */
  readonly secrets: readonly string[];

  constructor(problems: readonly Problem[], secrets: readonly string[] = []) {
    const heading =
      problems.length === 1 ? 'the configuration has an error' : `the configuration has ${problems.length} errors`;
    super('INVALID', [`${heading}:`, ...problems.map((problem) => `  ${describeProblem(problem)}`)].join('\n'));
    this.problems = problems;
    this.secrets = secrets;
  }
}

export function describeProblem({ path, value, message, source }: Problem): string {
  const given = value === null || message.includes(value) ? '' : ` (given: ${value})`;
  return `${path}: ${message}${given} [${source}]`;
}

const SHOWN_LENGTH_MAX = 100;

/** A value as it is quoted in a message: on one line, not endless, and without the credentials that a url may hold. */
export function show(value: unknown): string {
  const text = (JSON.stringify(value) ?? String(value)).replace(/\/\/[^"\s]*@/g, '//***@');
  return text.length <= SHOWN_LENGTH_MAX ? text : `${text.slice(0, SHOWN_LENGTH_MAX)}...`;
}

export const MASKED = '***';
