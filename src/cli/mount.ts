/** `bucketdisk mount` and `unmount`: a volume's filesystem on a directory. */
import { resolve } from 'node:path';
import { type Command, Option } from 'commander';
import { configuredVolume } from '../config/configured-volume.ts';
import type { MountFilesystem } from './actions.ts';
import { answer, type Frame, withContext } from './command-frame.ts';
import { EXIT_CODES_HELP } from './exit-code.ts';

const FILESYSTEMS: readonly MountFilesystem[] = ['ext4', 'xfs', 'btrfs'];

export function addMount(program: Command, frame: Frame): void {
  program
    .command('mount')
    .summary("mount a volume's filesystem on a directory")
    .description(
      'Has the running appliance attach the volume to a loop device, by FUSE, and mount what is on it. Where no appliance is ' +
        'running this becomes one, and serves until SIGTERM or SIGINT; then it unmounts, detaches and uploads, in that order. ' +
        'Needs root, FUSE and loop devices.',
    )
    .argument('<name>', 'name of the volume')
    .argument('<dir>', 'directory to mount on; it is created where it is missing')
    .addOption(
      new Option('--fs <type>', 'make this filesystem where nothing at all is on the volume yet').choices(FILESYSTEMS),
    )
    .addHelpText(
      'after',
      `
Examples:
  bucketdisk mount media /srv/media --fs ext4        the first time
  bucketdisk mount media /srv/media
${EXIT_CODES_HELP}`,
    )
    .action((name: string, dir: string, { fs = null }: { fs?: MountFilesystem | null }, command: Command) =>
      withContext(frame, command, { patient: true }, async (context, interrupt) => {
        configuredVolume(context.settings, name);
        const actions = await frame.host.loadActions();
        return actions.mountVolume(context, name, resolve(frame.host.cwd, dir), { fs, stop: interrupt.first });
      }),
    );
}

export function addUnmount(program: Command, frame: Frame): void {
  program
    .command('unmount')
    .summary('take a mounted volume down')
    .description('Has the running appliance unmount the volume and detach its device. The volume is served on.')
    .argument('<name>', 'name of the volume')
    .option('--force', 'take it away also while it is in use; programs that have files open there lose them')
    .addHelpText(
      'after',
      `
Examples:
  bucketdisk unmount media
${EXIT_CODES_HELP}`,
    )
    .action((name: string, { force = false }: { force?: boolean }, command: Command) =>
      answer(
        frame,
        command,
        async (context) => {
          configuredVolume(context.settings, name);
          const actions = await frame.host.loadActions();
          return actions.unmountVolume(context, name, { force });
        },
        ({ dir, device }) => `${name}: unmounted from ${dir}, ${device} detached\n`,
      ),
    );
}
