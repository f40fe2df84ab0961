/** Looks for writes that processes have left in their caches, without changing anything there. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import type { Settings } from './config/settings.ts';
import type { Leftover } from './doctor/checks/leftovers.ts';
import { ReadOnlyDisk } from './lib/disk/read-only-disk.ts';
import { describeError } from './lib/errors.ts';
import { ProcessLock } from './lib/process-lock.ts';
import { cacheDirectory } from './stores.ts';
import { CacheHome } from './volume/cache-home.ts';

/** `served`: the volumes of an appliance that runs, which tells of them itself. Null: none runs. */
export async function findLeftovers(settings: Settings, served: readonly string[] | null): Promise<Leftover[]> {
  const { dir } = settings.cache;
  const disk = new ReadOnlyDisk();
  const leftovers: Leftover[] = [];
  for (const volume of disk.list(join(dir, 'volumes')).sort()) {
    if (served?.includes(volume)) continue;
    const found = { volume, configured: Object.hasOwn(settings.volumes, volume) };
    leftovers.push({ ...found, ...(await lookAt(disk, dir, volume, served === null)) });
  }
  return leftovers;
}

async function lookAt(
  disk: ReadOnlyDisk,
  dir: string,
  volume: string,
  mayBeLocked: boolean,
): Promise<Pick<Leftover, 'state' | 'reason'>> {
  if (mayBeLocked && isLocked(dir)) return { state: 'busy', reason: null };
  try {
    const home = CacheHome.find(disk, cacheDirectory(dir, volume));
    const unsaved = home !== null && (await home.hasUnsaved());
    return { state: unsaved ? 'unsaved' : 'saved', reason: null };
  } catch (error) {
    // What was read while another process wrote it says nothing.
    if (mayBeLocked && isLocked(dir)) return { state: 'busy', reason: null };
    return { state: 'unknown', reason: describeError(error) };
  }
}

/** Held for no longer than it takes to ask, so that an appliance that starts meanwhile is hardly ever turned away. */
function isLocked(dir: string): boolean {
  const path = join(dir, 'lock');
  if (!existsSync(path)) return false;
  const lock = new ProcessLock(path);
  try {
    return !lock.tryHold();
  } finally {
    lock.close();
  }
}
