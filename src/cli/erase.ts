/** `bucketdisk erase`: deletes a volume, once somebody has said its name twice. */
import { createInterface } from 'node:readline/promises';
import type { Command } from 'commander';
import { configuredVolume } from '../config/configured-volume.ts';
import { StorageError } from '../lib/errors.ts';
import type { CommandContext } from './actions.ts';
import { answer, type Frame } from './command-frame.ts';
import { EXIT_CODES_HELP } from './exit-code.ts';
import type { Host } from './host.ts';
import { withProgress } from './progress.ts';

export function addErase(program: Command, frame: Frame): void {
  program
    .command('erase')
    .summary('delete a volume and all its data')
    .description(
      'Deletes every object of a volume. There is no way back. On a terminal it asks for the name once more.',
    )
    .argument('<name>', 'name of the volume')
    .option('--yes <name>', 'the name once more, in place of being asked')
    .addHelpText(
      'after',
      `
Examples:
  bucketdisk erase media
  bucketdisk erase media --yes media                 in a script
${EXIT_CODES_HELP}`,
    )
    .action((name: string, options: { yes?: string }, command: Command) =>
      answer(
        frame,
        command,
        async (context) => {
          configuredVolume(context.settings, name);
          await confirm(frame.host, context, name, options.yes);
          const actions = await frame.host.loadActions();
          return withProgress(context.stderr, `erasing ${name}`, (progress) =>
            actions.eraseVolume(context, name, progress),
          );
        },
        ({ deletedObjects, url }) => `erased ${name}: ${deletedObjects} objects deleted at ${url}\n`,
      ),
    );
}

async function confirm(host: Host, context: CommandContext, name: string, yes: string | undefined): Promise<void> {
  const said = yes ?? (await ask(host, context, name));
  if (said !== name) throw new StorageError('INVALID', `"${said}" is not "${name}": nothing was deleted`);
}

async function ask({ stdin, stderr }: Host, { signal }: CommandContext, name: string): Promise<string> {
  if (stdin.isTTY !== true) {
    throw new StorageError('INVALID', `erase deletes all data of "${name}": confirm it with --yes ${name}`);
  }
  const terminal = createInterface({ input: stdin, output: stderr });
  try {
    // Input that ends is an answer too, which readline would wait for.
    const ended = new Promise<string>((resolve, reject) => {
      // A terminal that is read key by key sends no signal.
      terminal.once('SIGINT', () => reject(new Error('^C')));
      terminal.once('close', () => resolve(''));
    });
    const question = `This deletes all data of "${name}". Type its name to go on: `;
    return (await Promise.race([terminal.question(question, { signal }), ended])).trim();
  } catch (cause) {
    stderr.write('\n');
    throw new StorageError('CANCELLED', 'interrupted: nothing was deleted', { cause });
  } finally {
    terminal.close();
  }
}
