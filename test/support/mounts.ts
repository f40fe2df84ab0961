/**
 * A filesystem on an NBD export without a kernel client: nbdfuse makes the export a file, a loop device makes the file a
 * disk. Each step is undone with the test, the last one first, also where a later step failed.
 */
import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { type Lifetime, onEnd } from './cleanup.ts';
import { runCommand, startProcess } from './run-command.ts';
import { tempDir } from './temp.ts';
import { type Facility, type Tool, toolPath } from './tools.ts';

export type FilesystemType = 'ext4' | 'xfs' | 'btrfs';

/** What the helpers here need, for `requireTools` and `requireFacilities`. */
export const MOUNT_TOOLS: readonly Tool[] = ['nbdfuse', 'fusermount3', 'losetup', 'mount'];
export const MOUNT_FACILITIES: readonly Facility[] = ['root', 'fuse', 'loop'];

/** Something that is in place until the test ends, or until it is undone before that. */
export interface Placed {
  /** A file, a device or a directory. */
  readonly path: string;
  undo(): Promise<void>;
}

const UP_TIMEOUT_MS = 20_000;
/** A sync of a slow bucket goes into unmounting. */
const UNDO_TIMEOUT_MS = 300_000;
/** Tests of other files may have a mount namespace of their own for so long. */
const BUSY_TIMEOUT_MS = 60_000;

/** The export as a file, served by the process `pid`. */
export async function mountExport(lifetime: Lifetime, uri: string): Promise<Placed & { readonly pid: number }> {
  const dir = await tempDir(lifetime, 'nbdfuse');
  const path = join(dir, 'disk');
  const program = startProcess(lifetime, toolPath('nbdfuse'), [path, uri]);
  const undo = onEnd(lifetime, async () => {
    // It may have ended by itself, and what it mounted with it.
    await runCommand(toolPath('fusermount3'), ['-u', dir], { okCodes: program.running ? [0] : null }).catch(() =>
      runCommand(toolPath('fusermount3'), ['-u', '-z', dir], { okCodes: null }),
    );
    await program.stop('SIGTERM', UNDO_TIMEOUT_MS);
  });
  const deadline = performance.now() + UP_TIMEOUT_MS;
  while (!(await isFile(path))) {
    if (!program.running) throw new Error(`nbdfuse ended: ${program.stderr}`);
    if (performance.now() > deadline) throw new Error(`nbdfuse did not serve ${uri} within ${UP_TIMEOUT_MS} ms`);
    await delay(20);
  }
  return { path, undo, pid: program.pid };
}

async function isFile(path: string): Promise<boolean> {
  return await stat(path).then(
    (found) => found.isFile(),
    () => false,
  );
}

/** The file as a block device, past the page cache where `directIo` asks for it. */
export async function attachLoop(
  lifetime: Lifetime,
  file: string,
  options: { directIo?: boolean } = {},
): Promise<Placed> {
  const directIo = options.directIo === true ? ['--direct-io=on'] : [];
  const { stdout } = await runCommand(toolPath('losetup'), ['-f', '--show', ...directIo, file]);
  const path = stdout.trim();
  const undo = onEnd(lifetime, async () => {
    await runCommand(toolPath('losetup'), ['-d', path], { timeoutMs: UNDO_TIMEOUT_MS });
    // The kernel lets go a moment after the command returns, and only then has all been written.
    const deadline = performance.now() + UP_TIMEOUT_MS;
    while ((await runCommand(toolPath('losetup'), [path], { okCodes: null })).code === 0) {
      if (performance.now() > deadline) throw new Error(`${path} is still attached`);
      await delay(20);
    }
  });
  return { path, undo };
}

const MKFS_OPTIONS: Readonly<Record<FilesystemType, readonly string[]>> = {
  ext4: ['-q', '-F'],
  xfs: ['-q', '-f'],
  btrfs: ['-q', '-f'],
};

export async function makeFilesystem(
  type: FilesystemType,
  device: string,
  options: readonly string[] = [],
): Promise<void> {
  const args = [...MKFS_OPTIONS[type], ...options, device];
  await runCommand(toolPath(`mkfs.${type}`), args, { timeoutMs: UNDO_TIMEOUT_MS });
}

/** The filesystem on the device, mounted on a new directory. */
export async function mountFilesystem(
  lifetime: Lifetime,
  type: FilesystemType,
  device: string,
  options: readonly string[] = [],
): Promise<Placed> {
  const path = await tempDir(lifetime, type);
  const mountOptions = options.length === 0 ? [] : ['-o', options.join(',')];
  await runCommand(toolPath('mount'), ['-t', type, ...mountOptions, device, path], { timeoutMs: UNDO_TIMEOUT_MS });
  const undo = onEnd(lifetime, async () => {
    await runCommand('umount', [path], { timeoutMs: UNDO_TIMEOUT_MS }).catch(async (error: unknown) => {
      // Nothing may stay mounted, but a filesystem that could not be unmounted properly is told.
      await runCommand('umount', ['-l', path], { okCodes: null });
      throw error;
    });
  });
  return { path, undo };
}

/**
 * Read-only checks that exit with an error where the filesystem is not clean. A test that runs something in a mount namespace of its own copies
 * all mounts there are into that, where a filesystem that has been unmounted here lives on until it ends: `btrfs check` waits for that.
 */
export async function checkFilesystem(type: FilesystemType, device: string): Promise<void> {
  const timeoutMs = UNDO_TIMEOUT_MS;
  if (type === 'ext4') await runCommand(toolPath('e2fsck'), ['-f', '-n', device], { timeoutMs });
  else if (type === 'xfs') await runCommand(toolPath('xfs_repair'), ['-n', device], { timeoutMs });
  else await checkBtrfs(device);
}

async function checkBtrfs(device: string): Promise<void> {
  const deadlineMs = performance.now() + BUSY_TIMEOUT_MS;
  for (;;) {
    try {
      await runCommand(toolPath('btrfs'), ['check', '--readonly', device], { timeoutMs: UNDO_TIMEOUT_MS });
      return;
    } catch (error) {
      if (!/Device or resource busy/.test(String(error)) || performance.now() > deadlineMs) throw error;
      await delay(500);
    }
  }
}

export interface MountedVolume {
  /** Where the filesystem is mounted. */
  readonly dir: string;
  readonly device: string;
  /** The export as a file. */
  readonly file: string;
  /** Unmounts and detaches all of it; every write has reached the server by then. */
  unmount(): Promise<void>;
}

/** All of it at once: export, loop device, filesystem (made first where `make`), directory. */
export async function mountVolume(
  lifetime: Lifetime,
  uri: string,
  type: FilesystemType,
  options: { make?: boolean; mkfs?: readonly string[]; mount?: readonly string[]; directIo?: boolean } = {},
): Promise<MountedVolume> {
  const { make = false, mkfs = [], mount = [], directIo = false } = options;
  const file = await mountExport(lifetime, uri);
  const device = await attachLoop(lifetime, file.path, { directIo });
  if (make) await makeFilesystem(type, device.path, mkfs);
  const filesystem = await mountFilesystem(lifetime, type, device.path, mount);
  return {
    dir: filesystem.path,
    device: device.path,
    file: file.path,
    unmount: async () => {
      for (const one of [filesystem, device, file]) await one.undo();
    },
  };
}
