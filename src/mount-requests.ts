/** What comes over the control socket about mounts, checked. */
import type { MountFilesystem, MountOptions, MountVia, UnmountOptions } from './cli/actions.ts';
import { StorageError } from './lib/errors.ts';

type Body = Readonly<Record<string, unknown>>;

/** INVALID where something is missing, or is not what it should be. */
export function mountRequest({ name, dir, fs, via }: Body): MountOptions & { name: string; dir: string } {
  if (typeof name === 'string' && typeof dir === 'string' && isFilesystem(fs) && isVia(via))
    return { name, dir, fs, via };
  throw new StorageError('INVALID', 'a mount needs a name, a dir, fs and via');
}

/** INVALID where something is missing, or is not what it should be. */
export function unmountRequest({ name, force }: Body): UnmountOptions & { name: string } {
  if (typeof name === 'string' && typeof force === 'boolean') return { name, force };
  throw new StorageError('INVALID', 'an unmount needs a name and force');
}

function isFilesystem(value: unknown): value is MountFilesystem | null {
  return value === null || value === 'ext4' || value === 'xfs' || value === 'btrfs';
}

function isVia(value: unknown): value is MountVia {
  return value === 'nbd' || value === 'fuse' || value === 'auto';
}
