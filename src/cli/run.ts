/** Runs one command line and resolves with its exit code. */
import { CommanderError } from 'commander';
import { EXIT_OK, exitCodeOf } from './exit-code.ts';
import type { Host } from './host.ts';
import { buildProgram } from './program.ts';
import { reportError } from './report-error.ts';

/** `argv`: what follows the program's name. Never rejects. */
export async function run(argv: readonly string[], host: Host): Promise<number> {
  let exitCode = EXIT_OK;
  const frame = {
    host,
    finish(code: number) {
      exitCode = code;
    },
  };
  try {
    await buildProgram(frame).parseAsync([...argv], { from: 'user' });
  } catch (error) {
    exitCode = exitCodeOf(error);
    // Help has been printed already, on stdout where it was asked for and on stderr where a verb is missing.
    const told = error instanceof CommanderError && (error.exitCode === 0 || error.code === 'commander.help');
    // The options themselves may be what is wrong: what was meant is seen well enough in the words.
    const debug = /(?:^| )--log-level[ =]debug(?: |$)/.test(argv.join(' '));
    if (!told) reportError(error, host.stdout, host.stderr, { json: argv.includes('--json'), debug });
  }
  await Promise.all([host.stdout, host.stderr].map(drained));
  return exitCode;
}

/** Resolves once what was written has left the process: its end would cut it off. */
function drained(stream: NodeJS.WritableStream): Promise<void> {
  return new Promise((resolve) => {
    stream.write('', () => resolve());
  });
}
