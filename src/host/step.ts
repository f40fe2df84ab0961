/** One step of putting a volume in place: a program with a deadline, and what to do where it fails. */
import { StorageError } from '../lib/errors.ts';
import { type ProgramResult, runProgram } from '../lib/run-program.ts';

export interface Step {
  /** What is being done, to follow "cannot": `mount /dev/loop0 on /mnt`. */
  readonly what: string;
  readonly program: string;
  readonly args: readonly string[];
  readonly timeoutMs: number;
  /** What to do where it fails. */
  readonly advice: string;
  /** Exit codes besides 0 that are an answer and no failure. */
  readonly okCodes?: readonly number[];
  readonly signal?: AbortSignal;
}

/** Rejects with UNSUPPORTED where the program is missing, TIMEOUT, CANCELLED, or INVALID with what the program said. */
export async function runStep(step: Step): Promise<ProgramResult> {
  const { what, program, args, timeoutMs, advice, okCodes = [], signal } = step;
  const options = signal === undefined ? { timeoutMs } : { timeoutMs, signal };
  const result = await runProgram(program, args, options).catch((cause: unknown) => {
    if (!(cause instanceof StorageError)) throw cause;
    throw new StorageError(cause.code, `cannot ${what}: ${cause.message}: ${advice}`, { cause });
  });
  if (result.code !== 0 && (result.code === null || !okCodes.includes(result.code))) {
    const said = result.stderr || `${program} ended with ${result.code ?? 'a signal'}`;
    throw new StorageError('INVALID', `cannot ${what}: ${said}: ${advice}`);
  }
  return result;
}
