/** `bucketdisk resize`: makes a volume larger, or with --force smaller. */
import type { Command } from 'commander';
import { configuredVolume } from '../config/configured-volume.ts';
import { formatSize, parseSize } from '../lib/units.ts';
import type { CommandContext, ResizeOutcome } from './actions.ts';
import { answer, type Frame } from './command-frame.ts';
import { EXIT_CODES_HELP } from './exit-code.ts';
import { withProgress } from './progress.ts';

export function addResize(program: Command, frame: Frame): void {
  program
    .command('resize')
    .summary('make a volume larger, or smaller')
    .description(
      'Changes the size of a volume. Clients see the new size when they attach again; growing the filesystem comes after. ' +
        'A smaller size deletes what lies beyond the new end, so that the filesystem must have been made smaller before.',
    )
    .argument('<name>', 'name of the volume')
    .argument('<size>', 'new size, such as 2TiB: a multiple of the block size')
    .option('--force', 'allow a smaller size, and delete what lies beyond it', false)
    .addHelpText(
      'after',
      `
Examples:
  bucketdisk resize media 2TiB
  bucketdisk resize media 500GiB --force
${EXIT_CODES_HELP}`,
    )
    .action((name: string, size: string, { force }: { force: boolean }, command: Command) =>
      answer(
        frame,
        command,
        async (context) => {
          const sizeBytes = parseSize(size);
          configuredVolume(context.settings, name);
          const actions = await frame.host.loadActions();
          return withProgress(context.stderr, `resizing ${name}`, (progress) =>
            actions.resizeVolume(context, name, sizeBytes, { force, ...progress }),
          );
        },
        describeOutcome,
      ),
    );
}

function describeOutcome(outcome: ResizeOutcome, { settings }: CommandContext): string {
  const { name, oldSizeBytes, newSizeBytes, deletedBlocks } = outcome;
  const deleted = deletedBlocks === 0 ? '' : `, ${deletedBlocks} blocks beyond the new end deleted`;
  const configured = settings.volumes[name]?.sizeBytes ?? newSizeBytes;
  const size = formatSize(newSizeBytes);
  const next =
    configured === newSizeBytes
      ? ''
      : `  now set volumes.${name}.size to "${size}": it is ${formatSize(configured)} in the configuration\n`;
  const done =
    oldSizeBytes === newSizeBytes
      ? `${name} is ${size} already`
      : `resized ${name} from ${formatSize(oldSizeBytes)} to ${size}`;
  return `${done}${deleted}\n${next}`;
}
