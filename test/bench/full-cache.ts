/** A read cache that is full, made without its pages ever having been fetched. */
import { truncateSync } from 'node:fs';
import { join } from 'node:path';
import { PAGE_BYTES } from '../../src/cache/page.ts';
import { LINE_BYTES, LINE_PAGES, scatter } from '../../src/cache/read-cache/geometry.ts';
import { openParts } from '../../src/cache/read-cache/open-parts.ts';
import { SystemClock } from '../../src/lib/clock.ts';
import { silentLog } from '../../src/lib/log.ts';
import { SystemDisk } from '../../src/lib/system-disk.ts';

/** Lines lie this far apart in the volume, so that no order of theirs makes anything easier. */
const STRIDE_LINES = 7;

/**
 * Fills the cache's own tables and lets it write its index, as it does when it is closed. The file of the data is as long
 * as it would be, and empty: opening does not read it. Returns how many pages the cache has then.
 */
export async function makeFullCache(directory: string, volumeId: string, sizeBytes: number): Promise<number> {
  const options = {
    disk: new SystemDisk(),
    directory,
    sizeBytes,
    identity: volumeId,
    clock: new SystemClock(),
    log: silentLog,
  };
  const { file, journal, table, queues, store } = await openParts(options, () => false);
  // What changes while the first snapshot of it is written would be in it twice.
  await store.checkpoint();
  for (let index = 0; index < table.slots; index++) {
    const slot = table.freeSlot();
    const line = index * STRIDE_LINES;
    table.assign(slot, line);
    for (let page = 0; page < LINE_PAGES; page++) table.setPage(slot, page, scatter(line * LINE_PAGES + page));
    queues.add(slot, line, false);
  }
  const { pages, slots } = table;
  await store.close();
  file.close();
  journal.close();
  truncateSync(join(directory, 'lines'), slots * LINE_BYTES);
  return pages;
}

/** Large enough for every line of such a cache. */
export function volumeBytesFor(cacheBytes: number): number {
  return (cacheBytes / PAGE_BYTES) * PAGE_BYTES * (STRIDE_LINES + 1);
}
