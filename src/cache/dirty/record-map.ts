/** What records of the log make of a map of dirty pages: at a write, when the log is read again, and to cut a batch. */
import { DATA, pagePart } from '../log/log-record.ts';
import type { WriteLog } from '../log/write-log.ts';
import { PAGE_BYTES, pageAfter, pageOf } from '../page.ts';
import type { DirtyMap } from './dirty-map.ts';

/** `error`: CORRUPT where what was read is not what was written, UNAVAILABLE where the disk could not read it. */
export type OnUnreadable = (page: number, error: unknown) => void;

/**
 * Applies one record. Parts of pages at its ends are read from the log; `onUnreadable` is told of those that cannot be, and
 * of those whose page cannot be, which are then not in the map. It may throw.
 */
export function applyRecord(map: DirtyMap, log: WriteLog, number: number, onUnreadable: OnUnreadable): void {
  const { records } = log;
  const offset = records.offset(number);
  const end = offset + records.length(number);
  const first = pageAfter(offset);
  const last = pageOf(end);
  if (records.kind(number) !== DATA) {
    // Zeroings are of whole pages; see DirtyStore.
    map.setZeroes(first, last, number);
    return;
  }
  if (first < last) map.setPages(first, last, number);
  if (pageOf(offset) < first) applyPart(map, log, number, 0, onUnreadable);
  if (last >= first && end > last * PAGE_BYTES) applyPart(map, log, number, last - pageOf(offset), onUnreadable);
}

/** Applies page `index` of the record, of which it has a part only. */
function applyPart(map: DirtyMap, log: WriteLog, number: number, index: number, onUnreadable: OnUnreadable): void {
  const { records } = log;
  const offset = records.offset(number);
  const page = pageOf(offset) + index;
  const { from, to } = pagePart(offset, records.length(number), index);
  const part = Buffer.allocUnsafe(to - from);
  const at = index === 0 ? offset % PAGE_BYTES : 0;
  try {
    log.readSync(number, index, 1, part);
    map.setPart(page, at, part, number, wholePage(map, log, page));
  } catch (error) {
    onUnreadable(page, error);
  }
}

/** The page's bytes where a record has the whole of it, or null. CORRUPT as WriteLog.readSync. */
export function wholePage(map: DirtyMap, log: WriteLog, page: number): Buffer | null {
  const record = map.record(page);
  if (record < 0) return null;
  if (log.records.kind(record) !== DATA) return Buffer.alloc(PAGE_BYTES);
  const bytes = Buffer.allocUnsafe(PAGE_BYTES);
  log.readSync(record, page - pageOf(log.records.offset(record)), 1, bytes);
  return bytes;
}
