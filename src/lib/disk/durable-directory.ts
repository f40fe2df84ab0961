/** Making directories that are still there after a power cut. */
import { dirname } from 'node:path';
import type { Disk } from '../disk.ts';

/**
 * Makes the directory with those above it, durable when it resolves. Its own name is made durable also where it was there:
 * whoever made it may have died before doing so.
 */
export async function makeDurableDirectory(disk: Disk, directory: string): Promise<void> {
  const parents = [dirname(directory)];
  for (let parent = dirname(directory); !disk.exists(parent); parent = dirname(parent)) parents.push(dirname(parent));
  disk.makeDirectory(directory);
  for (const parent of parents.reverse()) await disk.syncDirectory(parent);
}
