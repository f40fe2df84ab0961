/** Saves the writes of a cache that cannot go to the bucket to a file of the size of the volume, with a map beside it. */
import { open, rm } from 'node:fs/promises';
import { readUnsaved } from './cache/cache-directory.ts';
import type { ExportOutcome } from './cli/actions.ts';
import type { Disk } from './lib/disk.ts';
import { StorageError } from './lib/errors.ts';
import { systemReason } from './lib/system-reason.ts';
import type { CacheHome } from './volume/cache-home.ts';

/** Of the map: what each range of the file is. Later ranges lie upon earlier ones. */
interface MapEntry {
  readonly offset: number;
  readonly length: number;
  readonly kind: 'zero' | 'data';
}

/** INVALID where one of the files exists or cannot be written, CORRUPT where the log cannot be read: then neither is left of this attempt. */
export async function exportUnsaved(home: CacheHome, disk: Disk, path: string, name: string): Promise<ExportOutcome> {
  const mapPath = `${path}.map.json`;
  const unsaved = await readUnsaved(disk, home.directory, home.volumeId ?? '');
  const map: MapEntry[] = [];
  const made: string[] = [];
  try {
    await using data = await create(path);
    made.push(path);
    // Before all the reading: whether it can be made is soon told.
    await using text = await create(mapPath);
    made.push(mapPath);
    for await (const extent of unsaved.extents) {
      const { offset } = extent;
      if (extent.data === undefined) map.push({ offset, length: extent.zeroLength, kind: 'zero' });
      else {
        await writeAll(data, extent.data, offset);
        map.push({ offset, length: extent.data.length, kind: 'data' });
      }
    }
    await data.sync();
    const damagedPages = unsaved.damagedPages();
    const loss = unsaved.loss === null ? null : unsaved.loss.message;
    await text.writeFile(
      `${JSON.stringify({ volumeId: home.volumeId, name, ranges: map, damagedPages, loss }, null, 2)}\n`,
    );
    await text.sync();
    const sum = (kind: MapEntry['kind']): number =>
      map.reduce((total, entry) => total + (entry.kind === kind ? entry.length : 0), 0);
    return {
      ...{ name, path, mapPath, dataBytes: sum('data'), zeroedBytes: sum('zero') },
      damagedPages: damagedPages.length,
      loss,
    };
  } catch (cause) {
    // Half of it is of no use, and in the way of the next attempt, also of its space.
    await Promise.allSettled(made.map((one) => rm(one, { force: true })));
    if (cause instanceof StorageError) throw cause;
    const at = made.length === 1 ? mapPath : path;
    throw new StorageError('INVALID', `cannot write ${at}: ${systemReason(cause)}`, { cause });
  } finally {
    unsaved.close();
  }
}

/** Never over a file that is there: it may be an earlier export. */
function create(path: string): Promise<Awaited<ReturnType<typeof open>>> {
  return open(path, 'wx', 0o600);
}

/** A file may take a part and say so: what comes of the rest is told only when that is written too. */
async function writeAll(file: Awaited<ReturnType<typeof open>>, data: Buffer, offset: number): Promise<void> {
  for (let done = 0; done < data.length; ) {
    const { bytesWritten } = await file.write(data, done, data.length - done, offset + done);
    if (bytesWritten === 0) throw new Error('the system has written nothing');
    done += bytesWritten;
  }
}
