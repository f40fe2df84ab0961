/** Deleting a volume from its bucket. */

import { BLOCK_COUNT_MAX, BlockKeys } from '../layout/blocks/block-keys.ts';
import { StorageError } from '../lib/errors.ts';
import { DELETE_KEYS_MAX, type ObjectStore } from '../object/object-store.ts';
import { inspectVolume } from './inspect.ts';
import { fencedStore, holdVolume, type OpenOptions, type VolumeEnvironment } from './open-volume.ts';
import { volumeKeys } from './volume-keys.ts';
import type { VolumeOptions } from './volume-options.ts';
import { writeRecord } from './volume-record.ts';

/**
 * Deletes every object of the volume and no other; returns how many there were. Needs no password. An erase that was
 * interrupted leaves a record that says so, and can be run again. NOT_FOUND where there is no volume. `onProgress` gets the number of
 * blocks in all as soon as they have been counted, and null before.
 */
export async function eraseVolume(
  volume: VolumeOptions,
  environment: VolumeEnvironment,
  options: Pick<OpenOptions, 'takeOver' | 'signal' | 'onLost'>,
  onProgress: (deletedObjects: number, blocks: number | null) => void,
): Promise<number> {
  const { signal } = options;
  const keys = volumeKeys(volume.prefix);
  const { record, sampleBlock, blockHashPrefix } = await inspectVolume(
    environment.store,
    volume.prefix,
    volume.blockHashPrefix,
    signal,
  );
  // A lease alone is what is left where an erase was interrupted at its very end.
  const nothing =
    record === null && sampleBlock === null && (await environment.store.head(keys.lease, { signal })) === null;
  if (nothing) throw new StorageError('NOT_FOUND', `there is no volume at ${volume.url}`);
  const { hold } = await holdVolume(volume, environment, options);
  let erased = false;
  try {
    const store = fencedStore(environment, hold);
    if (record !== null) await writeRecord(store, keys.record, { ...record, erasing: true });
    const blockKeys = new BlockKeys(volume.prefix, record?.blockHashPrefix ?? blockHashPrefix ?? false);
    let deleted = await deleteBlocks(store, blockKeys, signal, onProgress);
    deleted += await deleteAll(store, keys.quarantine, signal);
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

async function deleteBlocks(
  store: ObjectStore,
  blockKeys: BlockKeys,
  signal: AbortSignal,
  onProgress: (deletedObjects: number, blocks: number | null) => void,
): Promise<number> {
  let deleted = 0;
  let total: number | null = null;
  const enough = new AbortController();
  const isBlock = ({ key }: { key: string }): boolean => blockKeys.blockOf(key, BLOCK_COUNT_MAX) !== null;
  // Ahead of the deleting, as far as listing is quicker. Nobody but the progress depends on it.
  const counting = countKeys(store, blockKeys.prefix, isBlock, AbortSignal.any([signal, enough.signal])).then(
    (count) => {
      total = count;
    },
    () => {},
  );
  try {
    for await (const page of store.list(blockKeys.prefix, { signal })) {
      const blocks = page.filter(isBlock).map(({ key }) => key);
      for (let at = 0; at < blocks.length; at += DELETE_KEYS_MAX) {
        await store.delete(blocks.slice(at, at + DELETE_KEYS_MAX), { signal });
      }
      deleted += blocks.length;
      // What was deleted before it was counted is missing from the count.
      onProgress(deleted, total === null ? null : Math.max(total, deleted));
    }
  } finally {
    enough.abort();
    await counting;
  }
  return deleted;
}

async function countKeys(
  store: ObjectStore,
  prefix: string,
  counts: (listed: { key: string }) => boolean,
  signal: AbortSignal,
): Promise<number> {
  let count = 0;
  for await (const page of store.list(prefix, { signal })) count += page.filter(counts).length;
  return count;
}

async function deleteAll(store: ObjectStore, prefix: string, signal: AbortSignal): Promise<number> {
  let deleted = 0;
  for await (const page of store.list(prefix, { signal })) {
    const keys = page.map(({ key }) => key);
    for (let at = 0; at < keys.length; at += DELETE_KEYS_MAX) {
      await store.delete(keys.slice(at, at + DELETE_KEYS_MAX), { signal });
    }
    deleted += keys.length;
  }
  return deleted;
}
