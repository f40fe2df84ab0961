/** Opens the files of a read cache, and takes over what they hold where it is this volume's and whole. */
import { join } from 'node:path';
import type { DiskFile } from '../../lib/disk.ts';
import { describeError } from '../../lib/errors.ts';
import { PAGE_BYTES } from '../page.ts';
import { EvictionQueues } from './eviction-queues.ts';
import { LINE_BYTES } from './geometry.ts';
import { type IndexPaths, IndexStore } from './index-store.ts';
import { loadIndex, restoreQueues } from './load-index.ts';
import type { ReadCacheOptions } from './read-cache.ts';
import { ChangedSlots } from './slot-changes.ts';
import { SlotTable } from './slot-table.ts';

export interface CacheParts {
  readonly file: DiskFile;
  readonly journal: DiskFile;
  readonly table: SlotTable;
  readonly queues: EvictionQueues;
  readonly changes: ChangedSlots;
  readonly store: IndexStore;
}

type Memory = Pick<CacheParts, 'table' | 'queues' | 'changes'>;

/** `isBusy`: the slot must not be given to another line now. */
export async function openParts(options: ReadCacheOptions, isBusy: (slot: number) => boolean): Promise<CacheParts> {
  const { disk, directory, log } = options;
  const slots = Math.max(1, Math.floor(options.sizeBytes / LINE_BYTES));
  const paths: IndexPaths = {
    directory,
    snapshot: join(directory, 'index'),
    newSnapshot: join(directory, 'index.new'),
  };
  const file = disk.open(join(directory, 'lines'));
  let journal: DiskFile | null = null;
  try {
    const journalPath = join(directory, 'index.journal');
    // One that is made now is not in the directory for good before a snapshot is.
    const isNew = !disk.exists(journalPath);
    journal = disk.open(journalPath);
    const found = await takeOver(options, paths, { file: journal, isNew }, newMemory(slots, isBusy));
    const memory = found.memory ?? newMemory(slots, isBusy);
    const store = new IndexStore({ ...options, ...memory, paths, journal });
    found.settle(store);
    if (file.sizeBytes() > slots * LINE_BYTES) file.truncate(slots * LINE_BYTES);
    const { table } = memory;
    log.info('the read cache is open', {
      pages: table.pages,
      bytes: table.pages * PAGE_BYTES,
      sizeBytes: slots * LINE_BYTES,
    });
    return { ...memory, file, journal, store };
  } catch (error) {
    file.close();
    journal?.close();
    throw error;
  }
}

function newMemory(slots: number, isBusy: (slot: number) => boolean): Memory {
  const changes = new ChangedSlots(slots);
  const table = new SlotTable(slots, changes);
  return { changes, table, queues: new EvictionQueues({ slots, lineAt: (slot) => table.lineAt(slot), isBusy }) };
}

interface Found {
  /** Filled; null where there was nothing to fill it with. */
  readonly memory: Memory | null;
  readonly settle: (store: IndexStore) => void;
}

async function takeOver(
  options: ReadCacheOptions,
  paths: IndexPaths,
  journal: { readonly file: DiskFile; readonly isNew: boolean },
  memory: Memory,
): Promise<Found> {
  const { disk, identity, log } = options;
  if (!disk.exists(paths.snapshot)) return { memory, settle: (store) => store.replace(0) };
  let epoch = 0;
  try {
    const loaded = await withFile(disk.open(paths.snapshot), (file) =>
      loadIndex(file, journal.file, identity, memory.table),
    );
    if (loaded.kind === 'loaded') {
      const { point, snapshotBytes, isClean, states } = loaded;
      memory.changes.journal.clear();
      restoreQueues(memory.table, memory.queues, states);
      return {
        memory,
        settle: (store) => {
          if (isClean && !journal.isNew) store.continueFrom(point, snapshotBytes);
          else store.replace(point.epoch);
        },
      };
    }
    if (loaded.kind === 'foreign') epoch = loaded.epoch;
    const reason =
      loaded.kind === 'foreign' ? 'it is of another volume, or of an earlier time of this one' : loaded.reason;
    log.warn('what the read cache held is not used', { directory: paths.directory, reason });
  } catch (error) {
    log.warn('what the read cache held could not be read', { error: describeError(error) });
  }
  return { memory: null, settle: (store) => store.replace(epoch) };
}

async function withFile<T>(file: DiskFile, work: (file: DiskFile) => Promise<T>): Promise<T> {
  try {
    return await work(file);
  } finally {
    file.close();
  }
}
