/** What can be done with a cache's directory while no volume is open on it. */
import type { BatchExtent } from '../layout/layout.ts';
import type { Disk } from '../lib/disk.ts';
import { StorageError } from '../lib/errors.ts';
import { silentLog } from '../lib/log.ts';
import { DamagedPages } from './dirty/damaged-pages.ts';
import { DirtyStore } from './dirty/dirty-store.ts';
import { headPath } from './log/log-head.ts';
import { saltOf, WriteLog, type WriteLogOptions } from './log/write-log.ts';
import { PAGE_BYTES } from './page.ts';
import { BatchMemory } from './upload/batch-memory.ts';
import { ExtentBuilder, mergeZeroes } from './upload/upload-batch.ts';
import { WAYS_OUT } from './ways-out.ts';

const LOG_DIRECTORY = 'log';
const FILES = ['lines', 'index', 'index.new', 'index.journal', 'damaged.json', 'damaged.json.new'];
const EXPORT_PIECE_BYTES = 1024 * 1024;

export function logDirectory(directory: string): string {
  return `${directory}/${LOG_DIRECTORY}`;
}

/** Whether the cache of `volumeId` has writes that are not in the bucket. Rejects with CORRUPT where it cannot be told. */
export async function hasUnsaved(disk: Disk, directory: string, volumeId: string): Promise<boolean> {
  const found = await readStore(disk, directory, volumeId, false);
  if (found === null) return false;
  const { store, loss } = found;
  store.log.abandon();
  if (loss !== null) throw loss;
  return !store.map.isEmpty || store.damaged.count > 0;
}

/** Removes the cache, whatever is in it. */
export function removeCache(disk: Disk, directory: string): void {
  const log = logDirectory(directory);
  // First: a head without its files would tell of writes that are lost.
  disk.remove(headPath(log));
  for (const name of disk.list(log)) disk.remove(`${log}/${name}`);
  for (const name of FILES) disk.remove(`${directory}/${name}`);
}

/** What is not in the bucket, ascending; a zeroed range is an extent without data. */
export interface UnsavedExtents {
  readonly extents: AsyncIterable<BatchExtent>;
  /** Pages, by number, whose bytes are lost. Complete once the extents have been read. */
  readonly damagedPages: () => readonly number[];
  /** Why these are not all that were flushed, or null: behind some point the log cannot be read. */
  readonly loss: StorageError | null;
  close(): void;
}

/**
 * Reads the writes that are not in the bucket, as far as the log can be read, and changes nothing. CORRUPT where it cannot be read
 * at all.
 */
export async function readUnsaved(disk: Disk, directory: string, volumeId: string): Promise<UnsavedExtents> {
  const found = await readStore(disk, directory, volumeId, true);
  if (found === null) return { extents: noExtents(), damagedPages: () => [], loss: null, close: () => {} };
  const { store, loss } = found;
  return {
    extents: unsavedExtents(store),
    damagedPages: () => store.damaged.pages,
    loss,
    close: () => store.log.abandon(),
  };
}

async function* noExtents(): AsyncGenerator<BatchExtent> {}

async function* unsavedExtents(store: DirtyStore): AsyncGenerator<BatchExtent> {
  const none = { read: () => 0 };
  const pages = store.map.pagesIn(0, Number.MAX_SAFE_INTEGER);
  const builder = new ExtentBuilder(
    // Nothing is given back: whoever takes an extent may keep it.
    { store, clean: none, blockSizeBytes: EXPORT_PIECE_BYTES, memory: new BatchMemory(0), givesUp: true },
    store.map,
  );
  // Zeroed ranges first: what was written over them since lies upon them.
  yield* mergeZeroes([], store.map);
  for (let at = 0; at < pages.length; ) {
    at = await builder.addBlock(pages, at);
    yield* builder.take();
  }
}

interface FoundStore {
  readonly store: DirtyStore;
  readonly loss: StorageError | null;
}

/** Null where there is no log. `givesUp`: what the disk cannot read is left out. */
async function readStore(
  disk: Disk,
  directory: string,
  volumeId: string,
  givesUp: boolean,
): Promise<FoundStore | null> {
  if (!disk.exists(headPath(logDirectory(directory)))) return null;
  const options: WriteLogOptions = {
    disk,
    directory: logDirectory(directory),
    sizeBytes: null,
    salt: saltOf(volumeId),
    nowMs: () => 0,
    log: silentLog,
    onRoom: () => {},
  };
  const found = await WriteLog.read(options, givesUp);
  if (found === null) return null;
  const { log, damaged, loss } = found;
  try {
    const store = new DirtyStore(log, DamagedPages.open(disk, directory), () => false);
    store.replay(Number.MAX_SAFE_INTEGER / PAGE_BYTES, damaged, givesUp);
    return { store, loss };
  } catch (error) {
    log.abandon();
    throw error;
  }
}

/** For a cache that another writer has made stale. */
export function staleCache(directory: string): StorageError {
  return new StorageError(
    'CONFLICT',
    `the cache in ${directory} has writes that are not in the bucket, and the volume has had another writer since. ${WAYS_OUT}`,
  );
}
