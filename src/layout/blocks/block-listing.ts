/** Finds which blocks have objects by listing their keys. */
import { StorageError } from '../../lib/errors.ts';
import type { ObjectStore } from '../../object/object-store.ts';
import type { BlockKeys } from './block-keys.ts';

export interface ListedBlock {
  readonly block: number;
  readonly etag: string;
  /** By the store's clock. */
  readonly lastModified: Date | undefined;
}

/**
 * The blocks of [first, end) that have objects, a page of the listing at a time, in key order. Plain keys sort as their
 * blocks do, so only that part of the bucket is listed; hashed ones have to be listed from the start.
 */
export async function* listBlocks(
  store: ObjectStore,
  keys: BlockKeys,
  first: number,
  end: number,
  signal: AbortSignal,
): AsyncGenerator<ListedBlock[]> {
  if (end <= first) return;
  const startAfter = keys.hashed || first === 0 ? undefined : keys.keyOf(first - 1);
  const lastKey = keys.hashed ? undefined : keys.keyOf(end - 1);
  for await (const page of store.list(keys.prefix, { signal, ...(startAfter === undefined ? {} : { startAfter }) })) {
    if (signal.aborted) throw new StorageError('CANCELLED', 'the listing was cancelled', { cause: signal.reason });
    const blocks: ListedBlock[] = [];
    let past = false;
    for (const { key, etag, lastModified } of page) {
      if (lastKey !== undefined && key > lastKey) {
        past = true;
        break;
      }
      const block = keys.blockOf(key, end);
      if (block !== null && block >= first) blocks.push({ block, etag, lastModified });
    }
    yield blocks;
    if (past) return;
  }
}
