/** Deleting a volume from its bucket. */

import { BLOCK_COUNT_MAX, BlockKeys } from '../layout/blocks/block-keys.ts';
import { StorageError } from '../lib/errors.ts';
import { deleteListed } from '../object/delete-listed.ts';
import type { ListedObject, ObjectStore } from '../object/object-store.ts';
import { honoursBoth } from '../object/probe.ts';
import type { CacheHome } from './cache-home.ts';
import { type Inspection, inspectVolume } from './inspect.ts';
import { fencedStore, holdVolume, type OpenOptions, type VolumeEnvironment } from './open-volume.ts';
import { volumeKeys } from './volume-keys.ts';
import type { VolumeOptions } from './volume-options.ts';
import { replaceRecord } from './volume-record.ts';

/**
 * Deletes every object of the volume and no other; returns how many there were. Needs no password. An erase that was
 * interrupted leaves a record that says so, and can be run again. `cache`: what there is under the volume's name; it goes with the
 * volume. NOT_FOUND where there is no volume, CONFLICT where the cache is another's and has writes that are in no bucket. `onProgress` gets the number of
 * blocks in all as soon as they have been counted, and null before.
 */
export async function eraseVolume(
  volume: VolumeOptions,
  environment: VolumeEnvironment,
  options: Pick<OpenOptions, 'takeOver' | 'signal' | 'onLost'>,
  cache: CacheHome | null,
  onProgress: (deletedObjects: number, blocks: number | null) => void,
): Promise<number> {
  const { signal } = options;
  const keys = volumeKeys(volume.prefix);
  await look(volume, environment, cache, signal);
  const { hold } = await holdVolume(volume, environment, options);
  let erased = false;
  try {
    // Once more, as somebody may have changed the volume, or made another in its place, before it was held.
    const { record, blockHashPrefix } = await look(volume, environment, cache, signal);
    const store = fencedStore(environment, hold);
    if (record !== null) {
      const conditional = honoursBoth(await environment.conditionalPuts());
      await replaceRecord(store, keys.record, { ...record, erasing: true }, { conditional, signal });
    }
    // While the record still tells whose it is.
    cache?.remove();
    const blockKeys = new BlockKeys(volume.prefix, record?.blockHashPrefix ?? blockHashPrefix ?? false);
    let deleted = await deleteBlocks(store, blockKeys, signal, onProgress);
    deleted += await deleteListed(store, keys.quarantine, { signal });
    if (record !== null) {
      await store.delete([keys.record], { signal });
      deleted += 1;
    }
    erased = true;
    return deleted;
  } finally {
    await hold.release({ erase: erased });
  }
}

/** What there is to erase. Rejects where there is nothing, or where it must not be. */
async function look(
  volume: VolumeOptions,
  { store }: VolumeEnvironment,
  cache: CacheHome | null,
  signal: AbortSignal,
): Promise<Inspection> {
  const found = await inspectVolume(store, volume.prefix, volume.blockHashPrefix, signal);
  // A lease alone is what is left where an erase was interrupted at its very end.
  const nothing =
    found.record === null &&
    found.sampleBlock === null &&
    (await store.head(volumeKeys(volume.prefix).lease, { signal })) === null;
  if (nothing) throw new StorageError('NOT_FOUND', `there is no volume at ${volume.url}`);
  // Names may have been changed in the configuration since.
  await cache?.clearForeign(found.record?.volumeId ?? null, volume.url);
  return found;
}

async function deleteBlocks(
  store: ObjectStore,
  blockKeys: BlockKeys,
  signal: AbortSignal,
  onProgress: (deletedObjects: number, blocks: number | null) => void,
): Promise<number> {
  let total: number | null = null;
  const enough = new AbortController();
  const isBlock = ({ key }: ListedObject): boolean => blockKeys.blockOf(key, BLOCK_COUNT_MAX) !== null;
  // Ahead of the deleting, as far as listing is quicker. Nobody but the progress depends on it.
  const counting = countKeys(store, blockKeys.prefix, isBlock, AbortSignal.any([signal, enough.signal])).then(
    (count) => {
      total = count;
    },
    () => {},
  );
  try {
    return await deleteListed(store, blockKeys.prefix, {
      signal,
      only: isBlock,
      // What was deleted before it was counted is missing from the count.
      onDeleted: (deleted) => onProgress(deleted, total === null ? null : Math.max(total, deleted)),
    });
  } finally {
    enough.abort();
    await counting;
  }
}

async function countKeys(
  store: ObjectStore,
  prefix: string,
  counts: (listed: ListedObject) => boolean,
  signal: AbortSignal,
): Promise<number> {
  let count = 0;
  for await (const page of store.list(prefix, { signal })) count += page.filter(counts).length;
  return count;
}
