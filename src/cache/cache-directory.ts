/** What can be done with a cache's directory while no volume is open on it. */
import type { BatchExtent } from '../layout/layout.ts';
import type { Disk } from '../lib/disk.ts';
import { StorageError } from '../lib/errors.ts';
import { silentLog } from '../lib/log.ts';
import { DamagedPages } from './dirty/damaged-pages.ts';
import { DirtyStore } from './dirty/dirty-store.ts';
import { saltOf, WriteLog } from './log/write-log.ts';
import { PAGE_BYTES } from './page.ts';
import { ExtentBuilder, mergeZeroes } from './upload/upload-batch.ts';

const LOG_DIRECTORY = 'log';
const FILES = ['lines', 'index', 'index.new', 'index.journal', 'damaged.json', 'damaged.json.new'];
const EXPORT_PIECE_BYTES = 1024 * 1024;

export function logDirectory(directory: string): string {
  return `${directory}/${LOG_DIRECTORY}`;
}

/** Whether the cache of `volumeId` has writes that are not in the bucket. Rejects with CORRUPT where it cannot be told. */
export async function hasUnsaved(disk: Disk, directory: string, volumeId: string): Promise<boolean> {
  if (!disk.exists(`${logDirectory(directory)}/head`)) return false;
  const store = await openStore(disk, directory, volumeId);
  try {
    return !store.map.isEmpty || store.damaged.count > 0;
  } finally {
    store.log.abandon();
  }
}

/** Removes the cache, whatever is in it. */
export function removeCache(disk: Disk, directory: string): void {
  const log = logDirectory(directory);
  // First: a head without its files would tell of writes that are lost.
  disk.remove(`${log}/head`);
  for (const name of disk.list(log)) disk.remove(`${log}/${name}`);
  for (const name of FILES) disk.remove(`${directory}/${name}`);
}

/** What is not in the bucket, ascending; a zeroed range is an extent without data. */
export interface UnsavedExtents {
  readonly extents: AsyncIterable<BatchExtent>;
  /** Pages, by number, whose bytes are lost. Complete once the extents have been read. */
  readonly damagedPages: () => readonly number[];
  close(): void;
}

/** Reads the writes that are not in the bucket. CORRUPT where the log cannot be read at all. */
export async function readUnsaved(disk: Disk, directory: string, volumeId: string): Promise<UnsavedExtents> {
  const store = await openStore(disk, directory, volumeId);
  return {
    extents: unsavedExtents(store),
    damagedPages: () => store.damaged.pages,
    close: () => store.log.abandon(),
  };
}

async function* unsavedExtents(store: DirtyStore): AsyncGenerator<BatchExtent> {
  const none = { read: () => 0 };
  const pages = store.map.pagesIn(0, Number.MAX_SAFE_INTEGER);
  const builder = new ExtentBuilder(
    { store, clean: none, blockSizeBytes: EXPORT_PIECE_BYTES, givesUp: true },
    store.map,
  );
  // Zeroed ranges first: what was written over them since lies upon them.
  yield* mergeZeroes([], store.map);
  for (let at = 0; at < pages.length; ) {
    at = await builder.addBlock(pages, at);
    yield* builder.take();
  }
}

async function openStore(disk: Disk, directory: string, volumeId: string): Promise<DirtyStore> {
  const { log, damaged } = await WriteLog.open({
    disk,
    directory: logDirectory(directory),
    sizeBytes: null,
    salt: saltOf(volumeId),
    nowMs: () => 0,
    log: silentLog,
    onRoom: () => {},
  });
  try {
    const store = new DirtyStore(log, DamagedPages.open(disk, directory), () => false);
    store.replay(Number.MAX_SAFE_INTEGER / PAGE_BYTES, damaged);
    return store;
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

/** For messages about writes that cannot go to the bucket by themselves. */
export const WAYS_OUT =
  'Save them with "bucketdisk cache export VOLUME FILE", then give them up with "bucketdisk cache drop VOLUME"';
