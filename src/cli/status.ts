/** `bucketdisk status`: what is served, from where, by whom. */
import type { Command } from 'commander';
import { answer, type Frame } from './command-frame.ts';
import { EXIT_CODES_HELP } from './exit-code.ts';
import { statusText } from './status-text.ts';

export function addStatus(program: Command, frame: Frame): void {
  program
    .command('status')
    .summary('show the appliance, its volumes and its clients')
    .description(
      'Asks the running appliance over its control socket in cache.dir. Where none is running, it tells what the bucket ' +
        'says of the configured volumes.',
    )
    .addHelpText(
      'after',
      `
Examples:
  bucketdisk status
  bucketdisk status --json | jq '.volumes[] | {name, state}'
${EXIT_CODES_HELP}`,
    )
    .action((_options: unknown, command: Command) =>
      answer(frame, command, async (context) => (await frame.host.loadActions()).status(context), statusText),
    );
}
