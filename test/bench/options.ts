/** The words of `npm run bench`. */
import { parseArgs } from 'node:util';

export interface BenchOptions {
  /** Names of scenarios, or the beginnings of them; all where empty. */
  readonly scenarios: readonly string[];
  readonly list: boolean;
  readonly help: boolean;
  readonly rounds: number;
  /** How long one measurement of one subject takes, where it is time that bounds it. */
  readonly seconds: number;
  /** A file for the results. */
  readonly jsonFile: string | null;
  /** A directory for CPU profiles of our own processes. */
  readonly profileDir: string | null;
}

export const USAGE = `npm run bench -- [options] [scenario ...]

  --list           the scenarios, and what each needs
  --rounds N       rounds, in each of which all subjects are measured in turns (5)
  --seconds N      seconds of one measurement (2)
  --json FILE      the results as JSON, every sample included
  --profile DIR    CPU profiles of our own processes, for a look at where the time goes`;

const ROUNDS = 5;
const SECONDS = 2;

/** @throws Error that says what is wrong with the words */
export function parseOptions(words: readonly string[]): BenchOptions {
  const { values, positionals } = parseArgs({
    args: [...words],
    allowPositionals: true,
    options: {
      list: { type: 'boolean', default: false },
      help: { type: 'boolean', short: 'h', default: false },
      rounds: { type: 'string' },
      seconds: { type: 'string' },
      json: { type: 'string' },
      profile: { type: 'string' },
    },
  });
  const rounds = positive('--rounds', values.rounds, ROUNDS);
  if (!Number.isInteger(rounds)) throw new Error(`--rounds must be a whole number, not ${values.rounds}`);
  return {
    scenarios: positionals,
    list: values.list,
    help: values.help,
    rounds,
    seconds: positive('--seconds', values.seconds, SECONDS),
    jsonFile: values.json ?? null,
    profileDir: values.profile ?? null,
  };
}

function positive(name: string, text: string | undefined, otherwise: number): number {
  if (text === undefined) return otherwise;
  const value = Number(text);
  if (!(value > 0 && Number.isFinite(value))) throw new Error(`${name} must be a number above 0, not ${text}`);
  return value;
}
