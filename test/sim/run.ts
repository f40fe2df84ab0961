/**
 * `npm run sim -- --seeds N [--from S]` runs the crash simulation and names the seeds that fail; `--seed S [--trace]` repeats
 * one of them and shows its steps.
 */
import { availableParallelism } from 'node:os';
import { parseArgs } from 'node:util';
import { type Outcome, runOnProcesses } from './run-seeds.ts';
import { simulate } from './simulation.ts';
import { subjectNamed } from './subjects.ts';

const SUBJECT = 'cached';
const PROGRESS_MS = 10_000;
/** After so many failures there is enough to look into. */
const FAILURES_MAX = 20;

function say(line: string): void {
  process.stdout.write(`${line}\n`);
}

function wholeNumber(name: string, text: string): number {
  const value = Number(text);
  if (!Number.isSafeInteger(value) || value < 1) throw new Error(`--${name} takes a whole number of at least 1`);
  return value;
}

async function repeat(subject: string, seed: number, trace: boolean): Promise<boolean> {
  try {
    const result = await simulate(subjectNamed(subject), seed, trace ? say : null);
    say(`seed ${seed} passes: ${result.lives} lives, ${result.requests} writes, trace ${result.trace}`);
    return true;
  } catch (error) {
    const { message, cause } = error as Error;
    say(message);
    if (trace && cause instanceof Error) say(cause.stack ?? '');
    return false;
  }
}

function describe(outcome: Outcome): string {
  const { seeds, lives, requests, sectorsChecked, virtualMs, refused, failures } = outcome;
  const hours = (virtualMs / 3_600_000).toFixed(0);
  return `${seeds} seeds, ${lives} lives, ${hours} hours, ${requests} writes, ${sectorsChecked} sectors compared, ${refused} too damaged to open, ${failures.length} failed`;
}

async function runMany(subject: string, from: number, count: number): Promise<boolean> {
  let toldAtMs = performance.now();
  let told = 0;
  const outcome = await runOnProcesses({ subject, from, count }, availableParallelism(), (soFar) => {
    for (const { message } of soFar.failures.slice(told)) say(message);
    told = soFar.failures.length;
    if (performance.now() - toldAtMs > PROGRESS_MS) {
      toldAtMs = performance.now();
      say(describe(soFar));
    }
    return told >= FAILURES_MAX;
  });
  say(describe(outcome));
  if (outcome.failures.length > 0) say('npm run sim -- --seed S --trace shows what happens in seed S');
  return outcome.failures.length === 0;
}

const USAGE = `npm run sim -- [options]
  --seeds N           runs so many, 1,000 unless told, on all cores, and names those that fail
  --from S            the first of them, 1 unless told
  --seed S            repeats that one alone, exactly
  --trace             with --seed: shows what happens in it
  --subject NAME      what is simulated, ${SUBJECT} unless told; an unknown name has all of them listed
`;

const { values } = parseArgs({
  options: {
    help: { type: 'boolean', short: 'h', default: false },
    seeds: { type: 'string', default: '1000' },
    from: { type: 'string', default: '1' },
    seed: { type: 'string' },
    trace: { type: 'boolean', default: false },
    subject: { type: 'string', default: SUBJECT },
  },
});
if (values.help) {
  say(USAGE);
  process.exit();
}
const passed =
  values.seed === undefined
    ? await runMany(values.subject, wholeNumber('from', values.from), wholeNumber('seeds', values.seeds))
    : await repeat(values.subject, wholeNumber('seed', values.seed), values.trace);
process.exitCode = passed ? 0 : 1;
