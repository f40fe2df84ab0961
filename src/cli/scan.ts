/** `bucketdisk scan`: looks volumes through for damage. */
import type { Command } from 'commander';
import { configuredVolume } from '../config/configured-volume.ts';
import { parsePercentage } from '../config/formats.ts';
import { StorageError } from '../lib/errors.ts';
import { parseRate } from '../lib/units.ts';
import type { ScanOutcome } from './actions.ts';
import { type Frame, withContext } from './command-frame.ts';
import { EXIT_CODES_HELP, EXIT_DAMAGE, EXIT_OK } from './exit-code.ts';
import { ProgressPrinter } from './progress.ts';
import { scanText } from './scan-text.ts';

interface Options {
  readonly deep: boolean;
  readonly repair: boolean;
  readonly share?: string;
  readonly rate?: string;
}

export function addScan(program: Command, frame: Frame): void {
  program
    .command('scan')
    .summary('look volumes through for damage')
    .description(
      'Holds the bucket against what the appliance knows: objects that are missing, that should not be there, that are ' +
        'others or of the wrong size, and keys that are none of the volume. Also checks what is in the local cache and not in ' +
        'the bucket. It is done by the running appliance; where none serves the volume, the command does it itself, and only reads, ' +
        'unless it is to repair.',
    )
    .argument('[name]', 'name of the volume; all of them where left out')
    .option('--deep', 'also read and check the bytes of the blocks, and of the cached pages', false)
    .option('--share <percentage>', 'with --deep: only so much, the next part each time; 100% where left out')
    .option('--rate <rate>', 'read no faster than this; `scan.rate` where left out, 0 for no bound')
    .option('--repair', 'put back what the cache still has; what is replaced is kept in the bucket', false)
    .addHelpText(
      'after',
      `
Examples:
  bucketdisk scan media
  bucketdisk scan media --deep --share 10% --rate 5MiB/s
  bucketdisk scan media --deep --repair --json
${EXIT_CODES_HELP}`,
    )
    .action((name: string | undefined, options: Options, command: Command) =>
      withContext(frame, command, { quiet: true }, async (context) => {
        const { settings, stderr, stdout } = context;
        const names = name === undefined ? Object.keys(settings.volumes) : [configuredVolume(settings, name).name];
        if (options.share !== undefined && !options.deep) {
          throw new StorageError('INVALID', '--share is about --deep: a listing is always of the whole volume');
        }
        const rateBytes = options.rate === undefined ? settings.scan.rateBytes : parseRate(options.rate) || null;
        const how = { deep: options.deep, repair: options.repair, share: shareOf(options.share), rateBytes };
        const actions = await frame.host.loadActions();
        const reports: ScanOutcome[] = [];
        for (const one of names) {
          const progress = new ProgressPrinter(stderr, `scanning ${one}`);
          try {
            const onProgress = progress.show.bind(progress);
            reports.push(await actions.scanVolume(context, one, { ...how, onProgress }));
          } finally {
            progress.end();
          }
        }
        stdout.write(context.json ? `${JSON.stringify({ reports })}\n` : reports.map(scanText).join(''));
        return reports.some(({ damageLeft }) => damageLeft > 0) ? EXIT_DAMAGE : EXIT_OK;
      }),
    );
}

function shareOf(text = '100%'): number {
  try {
    return parsePercentage(text);
  } catch (cause) {
    throw new StorageError('INVALID', `--share: ${cause instanceof Error ? cause.message : cause}`, { cause });
  }
}
