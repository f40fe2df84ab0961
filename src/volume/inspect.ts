/** What a prefix of a bucket holds: a volume of ours, one of s3backer's, something else, or nothing. */

import { BLOCK_COUNT_MAX, BlockKeys } from '../layout/blocks/block-keys.ts';
import { parseVolumeMetadata, type VolumeMetadata } from '../layout/blocks/volume-metadata.ts';
import { StorageError } from '../lib/errors.ts';
import type { ObjectStore } from '../object/object-store.ts';
import { volumeKeys } from './volume-keys.ts';
import { parseRecord, type VolumeRecord } from './volume-record.ts';

export interface Inspection {
  readonly record: VolumeRecord | null;
  /** Of the record's object. */
  readonly recordEtag: string | null;
  /** Of block 0, where it is there and says. */
  readonly metadata: VolumeMetadata | null;
  /** Whether the keys of the blocks that were seen carry the hash; null where no block was seen. */
  readonly blockHashPrefix: boolean | null;
  /** A block that exists, to try a key on. */
  readonly sampleBlock: number | null;
  /** A key under the prefix that belongs to no volume, or null. */
  readonly foreignKey: string | null;
}

/**
 * Reads the record, block 0's headers and the first page of keys. `blockHashPrefix` says which shape of keys to look for;
 * null: find out. Rejects with INVALID where there are blocks of both shapes.
 */
export async function inspectVolume(
  store: ObjectStore,
  prefix: string,
  blockHashPrefix: boolean | null,
  signal: AbortSignal,
): Promise<Inspection> {
  const own = volumeKeys(prefix);
  const recorded = await store.get(own.record, { signal });
  const record = recorded === null ? null : parseRecord(recorded);
  const shape = record?.blockHashPrefix ?? blockHashPrefix;
  const shapes = shape === null ? [false, true] : [shape];
  const heads = await Promise.all(
    shapes.map(async (hashed) => ({
      hashed,
      head: await store.head(new BlockKeys(prefix, hashed).keyOf(0), { signal }),
    })),
  );
  const blocksOfShape = new Map<boolean, number>();
  for (const { hashed, head } of heads) if (head !== null) blocksOfShape.set(hashed, 0);
  let foreignKey: string | null = null;
  for await (const page of store.list(prefix, { signal })) {
    for (const { key } of page) {
      if (key.startsWith(own.reserved) || key === own.token) continue;
      const hashed = shapes.find(
        (candidate) => new BlockKeys(prefix, candidate).blockOf(key, BLOCK_COUNT_MAX) !== null,
      );
      if (hashed === undefined) foreignKey ??= key;
      else if (!blocksOfShape.has(hashed)) {
        blocksOfShape.set(hashed, new BlockKeys(prefix, hashed).blockOf(key, BLOCK_COUNT_MAX) ?? 0);
      }
    }
    // The first page tells; a bucket may hold millions of keys.
    break;
  }
  if (blocksOfShape.size > 1) {
    throw new StorageError(
      'INVALID',
      `${store.description} holds blocks both with and without hashed keys under "${prefix}": set the volume's blockHashPrefix`,
    );
  }
  const [found] = blocksOfShape;
  const head = heads.find((candidate) => candidate.hashed === found?.[0])?.head ?? null;
  return {
    record,
    recordEtag: recorded?.etag ?? null,
    metadata: head === null ? null : parseVolumeMetadata(head),
    blockHashPrefix: found?.[0] ?? null,
    sampleBlock: found?.[1] ?? null,
    foreignKey,
  };
}
