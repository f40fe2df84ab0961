/** `bucketdisk mount` and `unmount`: a volume's filesystem on a directory. */
import { resolve } from 'node:path';
import { type Command, Option } from 'commander';
import { configuredVolume } from '../config/configured-volume.ts';
import type { MountFilesystem, MountVia } from './actions.ts';
import { answer, type Frame, withContext } from './command-frame.ts';
import { EXIT_CODES_HELP } from './exit-code.ts';

const FILESYSTEMS: readonly MountFilesystem[] = ['ext4', 'xfs', 'btrfs'];
const WAYS: readonly MountVia[] = ['auto', 'nbd', 'fuse'];

interface MountArguments {
  readonly fs?: MountFilesystem | null;
  readonly via: MountVia;
}

export function addMount(program: Command, frame: Frame): void {
  program
    .command('mount')
    .summary("mount a volume's filesystem on a directory")
    .description(
      'Has the running appliance make a block device of the volume and mount what is on it. Where no appliance is running ' +
        'this becomes one, and serves until SIGTERM or SIGINT; then it unmounts, detaches and uploads, in that order. ' +
        'Needs root.',
    )
    .argument('<name>', 'name of the volume')
    .argument('<dir>', 'directory to mount on; it is created where it is missing')
    .addOption(
      new Option('--fs <type>', 'make this filesystem where nothing at all is on the volume yet').choices(FILESYSTEMS),
    )
    .addOption(new Option('--via <way>', 'how it becomes a block device').choices(WAYS).default('auto'))
    .addHelpText(
      'after',
      `
Ways:
  nbd     the kernel's NBD client, at /dev/nbd0 or the next that is free: needs nbd-client and the module nbd
  fuse    FUSE and a loop device with direct I/O: needs /dev/fuse and /dev/loop-control
  auto    nbd where it can be had, else fuse

Nothing is ever written over: a filesystem is made only with --fs, and only on a volume that nothing has been written to.
It is mounted with discard and noatime, and shared, so that containers see what is mounted. What an appliance that was
killed has left mounted is taken away at the next start, or by "bucketdisk unmount".

Examples:
  bucketdisk mount media /srv/media --fs ext4        the first time
  bucketdisk mount media /srv/media
  bucketdisk mount media /srv/media --via fuse       also where the kernel has the module nbd
${EXIT_CODES_HELP}`,
    )
    .action((name: string, dir: string, { fs = null, via }: MountArguments, command: Command) =>
      withContext(frame, command, { patient: true }, async (context, interrupt) => {
        configuredVolume(context.settings, name);
        const actions = await frame.host.loadActions();
        return actions.mountVolume(context, name, resolve(frame.host.cwd, dir), { fs, via, stop: interrupt.first });
      }),
    );
}

export function addUnmount(program: Command, frame: Frame): void {
  program
    .command('unmount')
    .summary('take a mounted volume down')
    .description(
      'Has the running appliance unmount the volume and detach its device. The volume is served on. Where no appliance is ' +
        'running, it takes away what one that died has left.',
    )
    .argument('<name>', 'name of the volume')
    .option('--force', 'take it away also while it is in use; programs that have files open there lose them')
    .addHelpText(
      'after',
      `
Examples:
  bucketdisk unmount media
  bucketdisk unmount media --force      "fuser -vm DIR" tells who has files open there
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
        ({ dir, device, detached }) =>
          `${name}: unmounted from ${dir}, ${device} ${detached ? 'detached' : 'in use still, and detached once it is not'}\n`,
      ),
    );
}
