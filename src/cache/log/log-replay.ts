/** Reading the log from its head to its end after a stop of whatever kind. */
import { checksumOf } from '../../lib/checksum.ts';
import { isStorageError, StorageError } from '../../lib/errors.ts';
import { WAYS_OUT_OF_DAMAGE, WAYS_OUT_OF_FAILURE } from '../ways-out.ts';
import type { LogFiles } from './log-files.ts';
import { alignUp, GROUP_ALIGN_BYTES } from './log-files.ts';
import type { LogHead } from './log-head.ts';
import { DATA, decodeRecordHeader, pagePart, RECORD_HEADER_BYTES, RecordHeader, readChecksum } from './log-record.ts';
import type { LogRecords } from './log-records.ts';

/** The log is read in pieces of this size. A record's header fits in one many times over. */
const WINDOW_BYTES = 1024 * 1024;
/** How far behind a break is looked for what was durable: a break in a group hides no more than the group. */
const SEARCH_BYTES = 8 * 1024 * 1024;
const RECORD_ALIGN_BYTES = 8;

export interface ReplayOptions {
  readonly files: LogFiles;
  readonly head: LogHead;
  readonly salt: number;
  readonly atMs: number;
  /** What the disk cannot read is passed over, and is a loss; else it is met with the disk's error, and may be tried again. */
  readonly givesUp: boolean;
}

/** Where the log ends. */
export interface LogEnd {
  /** Where the log goes on. */
  readonly position: number;
  /** Where the last record ends. What follows in its group may be one that is torn. */
  readonly recordsEndPosition: number;
  readonly previousChecksum: number;
  /** Everything below it was durable, as its records say. */
  readonly claimedPosition: number;
  /** Why flushed records behind `position` are lost, or null. Nothing may be written to such a log. */
  readonly loss: StorageError | null;
  /** Pages of records that were durable once and are so no longer: record numbers with page indexes. */
  readonly damaged: readonly DamagedPart[];
}

export interface DamagedPart {
  readonly number: number;
  readonly index: number;
}

/**
 * Adds every record from the head on to `records`, up to the first that is not whole. What a crash cut off ends the log;
 * a record that was durable once, as those behind it tell, is damage and not an end: its pages are reported where its
 * header tells which they are, else it is a loss.
 */
export async function replayLog(records: LogRecords, options: ReplayOptions): Promise<LogEnd> {
  return new Replay(records, options).run();
}

class Replay {
  readonly #records: LogRecords;
  readonly #options: ReplayOptions;
  readonly #header = new RecordHeader();
  readonly #window = Buffer.allocUnsafeSlow(WINDOW_BYTES);
  #windowPosition = 0;
  #windowBytes = 0;
  #previousChecksum: number;
  /** Behind the last piece that has been passed over. */
  #unreadableEnd = 0;

  constructor(records: LogRecords, options: ReplayOptions) {
    this.#records = records;
    this.#options = options;
    this.#previousChecksum = options.head.previousChecksum;
  }

  async run(): Promise<LogEnd> {
    const { head, files } = this.#options;
    const lapEnd = files.fileStart(head.position) + files.sizeBytes;
    const damaged: DamagedPart[] = [];
    let position = head.position;
    let claimedPosition = head.durablePosition;
    let turns = 0;
    for (;;) {
      const at = this.#findNext(position, lapEnd);
      if (at === null) break;
      const bad = this.#badPages();
      if (bad.length > 0) {
        const { position: begin, endPosition } = this.#header;
        if (!this.#wasDurable(begin, endPosition, lapEnd)) break;
      }
      const header = this.#header;
      const number = this.#add(header);
      damaged.push(...bad.map((index) => ({ number, index })));
      position = header.endPosition;
      claimedPosition = Math.max(claimedPosition, header.durablePosition);
      this.#previousChecksum = header.checksum;
      // Others are opening their volumes too.
      if (++turns % 1024 === 0) await new Promise((resolve) => setImmediate(resolve));
    }
    // What follows the last record of a group is filling.
    const end = alignUp(position, GROUP_ALIGN_BYTES);
    return {
      loss: this.#loss(end, lapEnd) ?? this.#unknown(position),
      position: end,
      recordsEndPosition: position,
      previousChecksum: this.#previousChecksum,
      claimedPosition,
      damaged,
    };
  }

  /**
   * The position of the next record, read into the header: right behind, in the next group, or in the next file. Where an
   * opening found the next record torn, it went on without it, and may have put one of the same number elsewhere: that of
   * the latest opening counts.
   */
  #findNext(position: number, lapEnd: number): number | null {
    const { files } = this.#options;
    const candidates = [
      alignUp(position, RECORD_ALIGN_BYTES),
      alignUp(position, GROUP_ALIGN_BYTES),
      files.fileStart(position) === position ? position : files.fileEnd(position),
    ];
    let best: number | null = null;
    let life = -1;
    for (const at of candidates) {
      if (at >= lapEnd || !this.#readHeader(at)) continue;
      const { number, previousChecksum } = this.#header;
      if (number !== this.#records.end || previousChecksum !== this.#previousChecksum) continue;
      if (this.#header.life <= life) continue;
      best = at;
      life = this.#header.life;
    }
    if (best !== null) this.#readHeader(best);
    return best;
  }

  #readHeader(position: number): boolean {
    const bytes = this.#bytes(
      position,
      Math.min(WINDOW_BYTES, this.#options.files.fileEnd(position) - position),
      false,
    );
    return decodeRecordHeader(bytes, 0, position, this.#options.salt, this.#header);
  }

  /** Indexes of the pages of the record in the header whose checksum is not that of their bytes. */
  #badPages(): number[] {
    const { kind, offset, length, position, dataPosition, endPosition, checksumCount } = this.#header;
    if (kind !== DATA) return [];
    const { files } = this.#options;
    if (endPosition > files.fileEnd(position)) return Array.from({ length: checksumCount }, (_, index) => index);
    const record = this.#bytes(position, endPosition - position, true);
    const bad: number[] = [];
    for (let index = 0; index < checksumCount; index++) {
      const { from, to } = pagePart(offset, length, index);
      const lead = dataPosition - position;
      const part = record.subarray(lead + from, lead + to);
      if (part.length !== to - from || checksumOf(part) !== readChecksum(record, 0, index)) bad.push(index);
    }
    return bad;
  }

  /** Whether a record behind this one, or the head, says that this one was durable. */
  #wasDurable(position: number, endPosition: number, lapEnd: number): boolean {
    return this.#options.head.durablePosition > position || this.#durableClaim(endPosition, position, lapEnd) !== null;
  }

  /** Where something behind the end of the log was durable: what lies between is lost, and nobody can tell what it was. */
  #loss(position: number, lapEnd: number): StorageError | null {
    const { head } = this.#options;
    if (this.#wentOnBehind(lapEnd)) {
      const message =
        'the newest head of the write log is damaged: flushed writes cannot be found by the one before it';
      return new StorageError('CORRUPT', `${message}. ${WAYS_OUT_OF_DAMAGE}`);
    }
    const claimed =
      head.durablePosition > position ? head.durablePosition : this.#durableClaim(position, position, lapEnd);
    if (claimed === null) return null;
    const bytes = claimed - position;
    const message = `the write log is damaged at position ${position}: about ${bytes} bytes of flushed writes cannot be read`;
    return new StorageError('CORRUPT', `${message}. ${WAYS_OUT_OF_DAMAGE}`);
  }

  /** Where something behind the last record has been passed over: it may have been the next. */
  #unknown(position: number): StorageError | null {
    if (this.#unreadableEnd <= position) return null;
    const message = `whether the write log goes on at position ${position} cannot be told: the disk does not read it`;
    return new StorageError('CORRUPT', `${message}. ${WAYS_OUT_OF_DAMAGE}`);
  }

  /**
   * Whether there is a record where the file of the head comes round again. Its space is not used while the head needs it, so that a newer
   * head was durable, and is lost.
   */
  #wentOnBehind(lapEnd: number): boolean {
    const { files, head, salt } = this.#options;
    const found = new RecordHeader();
    const bytes = Buffer.alloc(GROUP_ALIGN_BYTES);
    try {
      files.readSync(bytes, lapEnd);
    } catch (error) {
      if (!isStorageError(error)) throw error;
      // Where the head is the newest, nothing is there that is needed.
      return false;
    }
    return decodeRecordHeader(bytes, 0, lapEnd, salt, found) && found.number >= head.number;
  }

  /** How much a group at or behind `from` says was durable, where that is more than `position`; else null. */
  #durableClaim(from: number, position: number, lapEnd: number): number | null {
    const { files, salt } = this.#options;
    const found = new RecordHeader();
    const end = Math.min(alignUp(from, GROUP_ALIGN_BYTES) + Math.min(SEARCH_BYTES, files.sizeBytes), lapEnd);
    for (let at = alignUp(from, GROUP_ALIGN_BYTES); at < end; at += GROUP_ALIGN_BYTES) {
      const bytes = this.#bytes(at, Math.min(GROUP_ALIGN_BYTES, files.fileEnd(at) - at), false);
      if (!decodeRecordHeader(bytes, 0, at, salt, found) || found.number < this.#records.end) continue;
      if (found.durablePosition > position) return found.durablePosition;
    }
    return null;
  }

  #add(header: RecordHeader): number {
    const { position, kind, offset, length, previousChecksum, checksumCount } = header;
    const { atMs } = this.#options;
    const number = this.#records.add({ position, kind, offset, length, previousChecksum, atMs });
    const bytes = this.#bytes(position, RECORD_HEADER_BYTES + checksumCount * 4, true);
    for (let index = 0; index < checksumCount; index++) {
      this.#records.setChecksum(number, index, readChecksum(bytes, 0, index));
    }
    return number;
  }

  /** Up to `length` bytes of the log; all of them, as far as the file goes, where `whole`, else those at hand if enough. */
  #bytes(position: number, length: number, whole: boolean): Buffer {
    const from = position - this.#windowPosition;
    const have = from >= 0 ? this.#windowBytes - from : 0;
    if (have >= length || (!whole && have >= 2 * GROUP_ALIGN_BYTES)) {
      return this.#window.subarray(from, from + Math.min(have, length));
    }
    const { files } = this.#options;
    const readBytes = Math.min(WINDOW_BYTES, files.fileEnd(position) - position);
    this.#windowPosition = position;
    this.#windowBytes = this.#fill(this.#window.subarray(0, readBytes), position);
    return this.#window.subarray(0, Math.min(this.#windowBytes, length));
  }

  #fill(target: Buffer, position: number): number {
    const { files, givesUp } = this.#options;
    try {
      return files.readSync(target, position);
    } catch (error) {
      if (!isStorageError(error)) throw error;
      if (!givesUp) throw unreadable(error);
      const firstEnd = alignUp(position + 1, GROUP_ALIGN_BYTES) - position;
      if (target.length <= firstEnd) {
        target.fill(0);
        this.#unreadableEnd = Math.max(this.#unreadableEnd, position + target.length);
      } else {
        for (let from = 0, to = firstEnd; from < target.length; from = to, to += GROUP_ALIGN_BYTES) {
          this.#fill(target.subarray(from, to), position + from);
        }
      }
      return target.length;
    }
  }
}

function unreadable(cause: StorageError): StorageError {
  const { code, message, retryable } = cause;
  return new StorageError(code, `the write log cannot be read: ${message}. ${WAYS_OUT_OF_FAILURE}`, {
    cause,
    retryable,
  });
}
