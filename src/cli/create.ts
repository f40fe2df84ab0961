/** `bucketdisk create`: makes a configured volume in its bucket. */
import type { Command } from 'commander';
import { configuredVolume } from '../config/configured-volume.ts';
import { approximateSize, formatSize } from '../lib/units.ts';
import type { VolumeDescription } from './actions.ts';
import { answer, type Frame } from './command-frame.ts';
import { EXIT_CODES_HELP } from './exit-code.ts';
import { withProgress } from './progress.ts';

export function addCreate(program: Command, frame: Frame): void {
  program
    .command('create')
    .summary('create a configured volume in its bucket')
    .description('Creates volumes.NAME of the configuration in its bucket. Its place there must be empty.')
    .argument('<name>', 'name of the volume')
    .option('--force', 'create it also where other objects lie; never over another volume', false)
    .addHelpText(
      'after',
      `
Examples:
  bucketdisk create media --config media.json5
  bucketdisk create media --set store.url=s3://my-bucket --set volumes.media.size=1TiB
${EXIT_CODES_HELP}`,
    )
    .action((name: string, { force }: { force: boolean }, command: Command) =>
      answer(
        frame,
        command,
        async (context) => {
          configuredVolume(context.settings, name);
          const actions = await frame.host.loadActions();
          // Nothing to count: it waits for the bucket, or for another appliance's lease to lapse.
          return withProgress(context.stderr, `creating ${name}`, () => actions.createVolume(context, name, { force }));
        },
        (volume) => `created ${volume.name}: ${describeVolume(volume)}\n  at ${volume.url}\n`,
      ),
    );
}

function describeVolume(volume: VolumeDescription): string {
  const { sizeBytes, blockSizeBytes, compress, encryption } = volume;
  const coding = [compress === 'none' ? 'not compressed' : compress, encryption ?? 'not encrypted'].join(', ');
  return `${approximateSize(sizeBytes)} in blocks of ${formatSize(blockSizeBytes)}, ${coding}`;
}
