/** Whether the configuration can be used. */
import { fail, ok, type Result } from '../finding.ts';

export interface ConfigurationInput {
  /** What is wrong with it, a line each; empty where it can be used. */
  readonly problems: readonly string[];
  readonly files: readonly string[];
  readonly volumeNames: readonly string[];
}

export function checkConfiguration({ problems, files, volumeNames }: ConfigurationInput): Result[] {
  if (problems.length > 0) {
    return problems.map((problem) => fail(problem, 'correct it; docs/CONFIGURATION.md lists every setting'));
  }
  const from = files.length === 0 ? 'no file' : files.join(', ');
  const volumes = volumeNames.length === 0 ? 'no volume' : volumeNames.join(', ');
  return [ok(`valid: ${volumes}, from ${from}`)];
}
