/** `bucketdisk cache`: what can be done with a cache that nobody is using. */
import { resolve } from 'node:path';
import type { Command } from 'commander';
import { configuredVolume } from '../config/configured-volume.ts';
import { approximateSize } from '../lib/units.ts';
import { answer, type Frame } from './command-frame.ts';
import { EXIT_CODES_HELP } from './exit-code.ts';

export function addCache(program: Command, frame: Frame): void {
  const cache = program
    .command('cache')
    .summary('save or give up what a cache holds')
    .description('Works on the cache of a volume while no appliance is running with it.');
  addExport(cache, frame);
  addDrop(cache, frame);
}

function addExport(cache: Command, frame: Frame): void {
  cache
    .command('export')
    .summary('save the writes that are not in the bucket to a file')
    .description(
      'Writes what a cache holds and its bucket does not to a sparse file of the layout of the volume, and which ranges of ' +
        'it count to FILE.map.json. For a cache that cannot be used any more, because another appliance has had the volume ' +
        'since. Neither the cache nor the bucket is changed.',
    )
    .argument('<name>', 'name of the volume')
    .argument('<file>', 'file to write; it must not exist')
    .addHelpText(
      'after',
      `
Examples:
  bucketdisk cache export media saved.img            saved.img.map.json tells which ranges count
${EXIT_CODES_HELP}`,
    )
    .action((name: string, file: string, _options: unknown, command: Command) =>
      answer(
        frame,
        command,
        async (context) => {
          configuredVolume(context.settings, name);
          return (await frame.host.loadActions()).exportCache(context, name, resolve(frame.host.cwd, file));
        },
        ({ dataBytes, zeroedBytes, damagedPages, loss, path, mapPath }) =>
          `${path}: ${approximateSize(dataBytes)} of data; ${mapPath} tells where, and of ${approximateSize(zeroedBytes)} zeroed\n` +
          (damagedPages === 0 ? '' : `${damagedPages} pages could not be read; the map lists them\n`) +
          (loss === null ? '' : `NOT ALL OF IT: ${loss}\n`),
      ),
    );
}

function addDrop(cache: Command, frame: Frame): void {
  cache
    .command('drop')
    .summary('delete the cache of a volume')
    .description('Deletes the cache of a volume. Writes in it that are in no bucket are only given up with --force.')
    .argument('<name>', 'name of the volume')
    .option('--force', 'also with writes that are in no bucket, which are lost then', false)
    .addHelpText(
      'after',
      `
Examples:
  bucketdisk cache drop media                        refused where it has writes that are in no bucket
  bucketdisk cache drop media --force                after "cache export"
${EXIT_CODES_HELP}`,
    )
    .action((name: string, { force }: { force: boolean }, command: Command) =>
      answer(
        frame,
        command,
        async (context) => {
          configuredVolume(context.settings, name);
          return (await frame.host.loadActions()).dropCache(context, name, { force });
        },
        ({ directory }) => `${directory}: deleted\n`,
      ),
    );
}
