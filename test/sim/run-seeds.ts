/** Runs many seeds, in this process or spread over several, and gathers what came of them. */
import { type ChildProcess, fork } from 'node:child_process';
import { settle } from '../support/virtual-clock.ts';
import { SimulationFailure, simulate } from './simulation.ts';
import { subjectNamed } from './subjects.ts';

export interface SeedRange {
  readonly subject: string;
  readonly from: number;
  readonly count: number;
}

export interface SeedFailure {
  readonly seed: number;
  readonly message: string;
  readonly lastLines: readonly string[];
}

/** What one seed came to, or many together. */
export interface Outcome {
  readonly seeds: number;
  readonly lives: number;
  readonly requests: number;
  readonly sectorsChecked: number;
  readonly virtualMs: number;
  /** Runs that ended early because the disk was damaged where the volume could not open any more. */
  readonly refused: number;
  readonly failures: readonly SeedFailure[];
}

export const NO_OUTCOME: Outcome = {
  seeds: 0,
  lives: 0,
  requests: 0,
  sectorsChecked: 0,
  virtualMs: 0,
  refused: 0,
  failures: [],
};

export function addOutcomes(a: Outcome, b: Outcome): Outcome {
  return {
    seeds: a.seeds + b.seeds,
    lives: a.lives + b.lives,
    requests: a.requests + b.requests,
    sectorsChecked: a.sectorsChecked + b.sectorsChecked,
    virtualMs: a.virtualMs + b.virtualMs,
    refused: a.refused + b.refused,
    failures: [...a.failures, ...b.failures],
  };
}

/** Rejections that nobody has handled, while it is in use. Only one may be. */
export class UnhandledRejections implements Disposable {
  readonly #reasons: unknown[] = [];
  readonly #listener = (reason: unknown): void => {
    if (!isOfTheDead(reason)) this.#reasons.push(reason);
  };

  constructor() {
    process.on('unhandledRejection', this.#listener);
  }

  /** Those since the last call. */
  take(): readonly unknown[] {
    return this.#reasons.splice(0);
  }

  [Symbol.dispose](): void {
    process.off('unhandledRejection', this.#listener);
  }
}

/** What a program does with its disk after it should have been dead is nobody's business. */
function isOfTheDead(reason: unknown): boolean {
  for (let error = reason; error instanceof Error; error = error.cause) {
    if (error.name === 'DeadDiskError') return true;
  }
  return false;
}

/** Runs the seed; never rejects. */
export async function runSeed(subject: string, seed: number, unhandled: UnhandledRejections): Promise<Outcome> {
  try {
    const result = await simulate(subjectNamed(subject), seed);
    // Node tells of them when a turn has ended.
    await settle();
    const [reason] = unhandled.take();
    if (reason !== undefined)
      throw new SimulationFailure(`seed ${seed}: nobody handled: ${String(reason)}`, [], reason);
    const { lives, requests, sectorsChecked, virtualMs, refused } = result;
    return { seeds: 1, lives, requests, sectorsChecked, virtualMs, refused: refused ? 1 : 0, failures: [] };
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error);
    const lastLines = error instanceof SimulationFailure ? error.lastLines : [];
    return { ...NO_OUTCOME, seeds: 1, failures: [{ seed, message, lastLines }] };
  }
}

/** Seeds that a process is given at a time. */
const SHARE_SEEDS = 20;

/** Runs the seeds on several processes. `onProgress`: told after every few of them; true ends the run. */
export async function runOnProcesses(
  range: SeedRange,
  processes: number,
  onProgress: (soFar: Outcome) => boolean = () => false,
): Promise<Outcome> {
  let next = range.from;
  const end = range.from + range.count;
  let total = NO_OUTCOME;
  let stopping = false;
  const work = async (): Promise<void> => {
    const child = fork(new URL('./worker.ts', import.meta.url), { stdio: ['ignore', 'inherit', 'inherit', 'ipc'] });
    try {
      while (next < end && !stopping) {
        const share = { ...range, from: next, count: Math.min(SHARE_SEEDS, end - next) };
        next += share.count;
        const outcome = await runShare(child, share);
        total = addOutcomes(total, outcome);
        stopping ||= onProgress(total);
      }
    } finally {
      child.disconnect();
    }
  };
  await Promise.all(Array.from({ length: processes }, work));
  return total;
}

function runShare(child: ChildProcess, share: SeedRange): Promise<Outcome> {
  return new Promise((resolve, reject) => {
    const onExit = (code: number | null): void => {
      reject(new Error(`a process of the simulation ended with ${code}, among the seeds from ${share.from} on`));
    };
    child.once('exit', onExit);
    child.once('message', (outcome) => {
      child.off('exit', onExit);
      resolve(outcome as Outcome);
    });
    child.send(share);
  });
}
