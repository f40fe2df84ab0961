/** A program of a measurement, run to its end: it is stopped first when the run is broken off, before what it works on. */
import type { Lifetime } from '../support/cleanup.ts';
import { startProcess } from '../support/run-command.ts';

const TIMEOUT_MS = 300_000;

/** Resolves with what it printed. Rejects where it fails, or takes longer than five minutes. */
export async function runProgram(lifetime: Lifetime, file: string, args: readonly string[]): Promise<string> {
  const program = startProcess(lifetime, file, args);
  const timer = setTimeout(() => program.killGroup(), TIMEOUT_MS);
  try {
    const { code, signal, stdout, stderr } = await program.exited;
    if (code === 0) return stdout;
    throw new Error(
      `${program.description} ended with ${code ?? signal}\n${stderr.slice(-2000)}${stdout.slice(-2000)}`,
    );
  } finally {
    clearTimeout(timer);
  }
}
