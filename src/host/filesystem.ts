/** What is on a block device, and making a filesystem where there is nothing. */
import { StorageError } from '../lib/errors.ts';
import { runStep } from './step.ts';

export type FilesystemType = 'ext4' | 'xfs' | 'btrfs';

const PROBE_TIMEOUT_MS = 60_000;
/** Of a large volume over a slow bucket. */
const MAKE_TIMEOUT_MS = 600_000;

/** blkid's exit code where it recognises nothing. */
const NOTHING_FOUND = 2;
/** blkid's exit code where several signatures contradict each other. */
const AMBIGUOUS = 8;

// A new volume is empty: there is nothing to discard, and asking for it would take time for no gain. Nothing smaller than a page
// is ever written, so that the cache has whole ones, and disks of 4 KiB sectors can have the filesystem as well.
const MAKE_ARGUMENTS: Readonly<Record<FilesystemType, readonly string[]>> = {
  ext4: ['-q', '-b', '4096', '-E', 'nodiscard'],
  xfs: ['-q', '-s', 'size=4096', '-K'],
  btrfs: ['-q', '-K'],
};

/** The type of filesystem on the device (`ext4`, also `crypto_LUKS`), null where blkid knows of nothing. Rejects with INVALID where it cannot be told. */
export async function filesystemOn(device: string, signal?: AbortSignal): Promise<string | null> {
  const { code, stdout } = await runStep({
    what: `look for a filesystem on ${device}`,
    program: 'blkid',
    args: ['--probe', '--output', 'export', device],
    timeoutMs: PROBE_TIMEOUT_MS,
    advice: 'the log may say why the volume cannot be read',
    okCodes: [NOTHING_FOUND, AMBIGUOUS],
    ...(signal === undefined ? {} : { signal }),
  });
  if (code === NOTHING_FOUND) return null;
  const type = /^TYPE=(.+)$/m.exec(stdout)?.[1];
  if (type !== undefined) return type;
  const table = /^PTTYPE=(.+)$/m.exec(stdout)?.[1];
  const found = table === undefined ? 'something that blkid cannot name' : `a partition table (${table})`;
  throw new StorageError('INVALID', `there is no filesystem on ${device}, but ${found}: it is left alone`);
}

/**
 * Makes a filesystem on a device that is known to be empty, by its extents and by blkid: the caller has made sure of that. The
 * programs refuse to overwrite what they recognise, and are not forced.
 */
export async function makeFilesystem(type: FilesystemType, device: string, signal?: AbortSignal): Promise<void> {
  await runStep({
    what: `make ${type} on ${device}`,
    program: `mkfs.${type}`,
    args: [...MAKE_ARGUMENTS[type], device],
    timeoutMs: MAKE_TIMEOUT_MS,
    advice: `install the program mkfs.${type}, or make the filesystem by hand`,
    ...(signal === undefined ? {} : { signal }),
  });
}
