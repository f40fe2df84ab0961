/** `bucketdisk flush`: brings everything that was written to the bucket. */
import type { Command } from 'commander';
import { configuredVolume } from '../config/configured-volume.ts';
import { answer, type Frame } from './command-frame.ts';
import { EXIT_CODES_HELP } from './exit-code.ts';
import { withProgress } from './progress.ts';

export function addFlush(program: Command, frame: Frame): void {
  program
    .command('flush')
    .summary('upload everything that was written')
    .description(
      'Uploads what a volume has in its cache and not in its bucket, and returns when it is there. Where no appliance is ' +
        'running, it uploads what one has left in cache.dir.',
    )
    .argument('<name>', 'name of the volume')
    .addHelpText(
      'after',
      `
Examples:
  bucketdisk flush media                             before the machine is taken down for good
${EXIT_CODES_HELP}`,
    )
    .action((name: string, _options: unknown, command: Command) =>
      answer(
        frame,
        command,
        async (context) => {
          configuredVolume(context.settings, name);
          const actions = await frame.host.loadActions();
          return withProgress(context.stderr, `uploading ${name}`, (progress) =>
            actions.flushVolume(context, name, progress),
          );
        },
        () => `${name}: everything that was written is in the bucket\n`,
      ),
    );
}
