/** `bucketdisk warm`: loads a volume, or a part of it, into the cache. */
import type { Command } from 'commander';
import { configuredVolume } from '../config/configured-volume.ts';
import { approximateSize, parseSize } from '../lib/units.ts';
import { answer, type Frame } from './command-frame.ts';
import { EXIT_CODES_HELP } from './exit-code.ts';
import { withProgress } from './progress.ts';

interface Options {
  readonly offset: string;
  readonly length?: string;
}

export function addWarm(program: Command, frame: Frame): void {
  program
    .command('warm')
    .summary('load a volume, or a part of it, into the cache')
    .description(
      'Reads the volume into the cache of the running appliance, so that clients find it there. What is cached already, or ' +
        'known to be zeros, costs nothing. Where the cache is smaller than the range, its end is what stays.',
    )
    .argument('<name>', 'name of the volume')
    .option('--offset <size>', 'where to begin', '0')
    .option('--length <size>', 'how much; to the end of the volume where left out')
    .addHelpText(
      'after',
      `
Examples:
  bucketdisk warm media
  bucketdisk warm media --offset 10GiB --length 2GiB
${EXIT_CODES_HELP}`,
    )
    .action((name: string, options: Options, command: Command) =>
      answer(
        frame,
        command,
        async (context) => {
          configuredVolume(context.settings, name);
          const offset = parseSize(options.offset);
          const length = options.length === undefined ? null : parseSize(options.length);
          const actions = await frame.host.loadActions();
          return withProgress(context.stderr, `warming ${name}`, (progress) =>
            actions.warmVolume(context, name, { offset, length, ...progress }),
          );
        },
        ({ bytes, cachedBytes }) =>
          `${name}: ${approximateSize(bytes)} read; ${approximateSize(cachedBytes)} are in the cache\n`,
      ),
    );
}
