/**
 * The write log of a volume: what has been written and may not be in the bucket yet, in a circle of files whose space is
 * set aside when the log is made.
 */
import { checksumOf } from '../../lib/checksum.ts';
import type { Clock } from '../../lib/clock.ts';
import { makeDurableDirectory } from '../../lib/disk/durable-directory.ts';
import type { Disk } from '../../lib/disk.ts';
import { StorageError } from '../../lib/errors.ts';
import type { Log } from '../../lib/log.ts';
import { PAGE_BYTES } from '../page.ts';
import { LogAppender, type LogAppenderOptions } from './log-appender.ts';
import { alignUp, GROUP_ALIGN_BYTES, LogFiles } from './log-files.ts';
import { LogFiller } from './log-filler.ts';
import { headPath, type LogHead, LogHeadFile } from './log-head.ts';
import {
  DATA,
  dataRecordBytes,
  encodeRecordHeader,
  pagePart,
  pagesTouched,
  RECORD_HEADER_BYTES,
  RecordHeader,
  writeChecksum,
  ZERO,
} from './log-record.ts';
import { LogRecords } from './log-records.ts';
import { type DamagedPart, type LogEnd, replayLog } from './log-replay.ts';

const FILE_COUNT = 16;
/** A lap of fewer files wastes much at their ends. */
const FILE_COUNT_MIN = 4;
const FILE_BYTES_MIN = 64 * 1024;
/** The smallest log there is. */
export const LOG_BYTES_MIN = FILE_COUNT_MIN * FILE_BYTES_MIN;
const DATA_BYTES_MAX = 512 * 1024;

/** A beginning of the log: a record, where it is or will be, and the checksum of the header of the one before it. */
export type HeadMark = Pick<LogHead, 'number' | 'position' | 'previousChecksum'>;

export interface WriteLogOptions {
  readonly disk: Disk;
  /** The log's own. */
  readonly directory: string;
  /** At least LOG_BYTES_MIN. A log that holds something keeps its size until it is empty. Null: as large as it is. */
  readonly sizeBytes: number | null;
  /** The volume's, so that its records are not taken for another's. */
  readonly salt: number;
  readonly nowMs: () => number;
  readonly log: Log;
  /** Called when there is more room than before. */
  readonly onRoom: () => void;
  /** As of LogAppender. */
  readonly slabs?: LogAppenderOptions['slabs'];
}

export class WriteLog {
  /** Those that are still needed, by number. */
  readonly records: LogRecords;
  /** The most data of one record: longer writes are several. */
  readonly dataBytesMax: number;
  readonly #options: WriteLogOptions;
  readonly #files: LogFiles;
  readonly #headFile: LogHeadFile;
  readonly #appender: LogAppender;
  readonly #header = new RecordHeader();
  /** Of a log that was made by this process and has been told to. */
  #filler: LogFiller | null = null;
  #head: LogHead;
  /** Position of the first record that is needed, in memory and not only on disk. */
  #firstPosition: number;
  #previousChecksum: number;
  #writingHead: Promise<void> = Promise.resolve();

  private constructor(options: WriteLogOptions, parts: WriteLogParts) {
    this.#options = options;
    this.records = parts.records;
    this.#files = parts.files;
    this.#headFile = parts.headFile;
    this.#head = parts.head;
    this.#firstPosition = parts.head.position;
    this.#previousChecksum = parts.previousChecksum;
    this.dataBytesMax = Math.min(DATA_BYTES_MAX, Math.floor(parts.files.fileBytes / 2 / PAGE_BYTES) * PAGE_BYTES);
    this.#appender = new LogAppender({
      files: parts.files,
      position: parts.position,
      log: options.log,
      onRoom: options.onRoom,
      slabs: options.slabs,
    });
  }

  /**
   * Opens the log, or makes it, and reads what it holds into `records`. CORRUPT where flushed writes are lost; NO_SPACE
   * where the disk has no room for a new one.
   */
  static async open(options: WriteLogOptions): Promise<{ log: WriteLog; damaged: readonly DamagedPart[] }> {
    const { disk, directory, salt, nowMs } = options;
    await makeDurableDirectory(disk, directory);
    const path = headPath(directory);
    let headFile = disk.exists(path) ? new LogHeadFile(disk.open(path), salt) : null;
    let files: LogFiles | null = null;
    let head: LogHead | null = null;
    try {
      await headFile?.reserve();
      const found = headFile?.read() ?? null;
      if (headFile !== null && found !== null) {
        files = await LogFiles.open(disk, directory, found.fileBytes, found.fileCount);
        const records = new LogRecords(found.number);
        const end = await replayLog(records, { files, head: found, salt, atMs: nowMs(), givesUp: false });
        if (end.loss !== null) throw end.loss;
        await writeAgain(files, Math.max(end.claimedPosition, found.position), end);
        head = {
          ...found,
          sequence: found.sequence + 1,
          life: found.life + 1,
          // All of it is durable by now: what cannot be read the next time is lost, and not torn.
          durablePosition: end.recordsEndPosition,
        };
        // Also where new files come next. The head that was found may not be durable: after a crash an older one would look
        // for its records in files that are gone.
        await headFile.write(head);
        const sizeBytes = found.fileBytes * found.fileCount;
        const keepsSize = options.sizeBytes === null || sizeBytes === geometryOf(options.sizeBytes).totalBytes;
        if (keepsSize || records.end > records.first) {
          const { position, previousChecksum, damaged } = end;
          return {
            log: new WriteLog(options, { files, headFile, head, records, position, previousChecksum }),
            damaged,
          };
        }
        files.close();
        files = null;
      }
      const made = await makeFiles(options, head);
      files = made.files;
      if (headFile !== null && found !== null) {
        await headFile.write(made.head);
      } else {
        headFile?.close();
        headFile = await LogHeadFile.begin(disk, directory, salt, made.head);
      }
      const records = new LogRecords(made.head.number);
      const { position, previousChecksum } = made.head;
      return {
        log: new WriteLog(options, { ...made, headFile, records, position, previousChecksum }),
        damaged: [],
      };
    } catch (error) {
      files?.close();
      headFile?.close();
      throw error;
    }
  }

  /**
   * Reads what the log holds, as far as that can be told, without changing any of it: the log that comes of it is only to be read
   * and abandoned. `loss`: why that is not all that was flushed. Null where none was ever begun. `givesUp`: what the disk cannot read is
   * left out.
   */
  static async read(options: WriteLogOptions, givesUp: boolean): Promise<FoundLog | null> {
    const { disk, directory, salt, nowMs } = options;
    const headFile = new LogHeadFile(disk.open(headPath(directory)), salt);
    let files: LogFiles | null = null;
    try {
      const head = headFile.read();
      if (head === null) {
        headFile.close();
        return null;
      }
      files = await LogFiles.open(disk, directory, head.fileBytes, head.fileCount);
      const records = new LogRecords(head.number);
      const end = await replayLog(records, { files, head, salt, atMs: nowMs(), givesUp });
      const { position, previousChecksum, damaged, loss } = end;
      const log = new WriteLog(options, { files, headFile, head, records, position, previousChecksum });
      return { log, damaged, loss };
    } catch (error) {
      files?.close();
      headFile.close();
      throw error;
    }
  }

  get sizeBytes(): number {
    return this.#files.sizeBytes;
  }

  /** From the file that the oldest needed record is in to the end: files become free as a whole. */
  get usedBytes(): number {
    return this.#appender.position - this.#files.fileStart(this.#firstPosition);
  }

  /** Why the last attempt to make it durable failed, or null. */
  get failure(): StorageError | null {
    return this.#appender.failure;
  }

  /** Whether every record before `number` is durable. */
  isDurable(number: number): boolean {
    if (number <= this.records.first) return true;
    const end = number >= this.records.end ? this.#appender.position : this.records.position(number);
    return end <= this.#appender.durablePosition;
  }

  /** Whether a write of `length` bytes, at most `dataBytesMax`, or a zeroing (0), may be appended now. */
  hasRoom(offset: number, length: number): boolean {
    const bytes = length === 0 ? RECORD_HEADER_BYTES : dataRecordBytes(offset, length);
    const end = this.#endWith(bytes);
    return end <= this.#lapEnd && end <= (this.#filler?.limit ?? Infinity) && this.#appender.accepts(bytes);
  }

  /** Whether a write has to wait until records are dropped, and not only until what there is is durable. */
  get isFull(): boolean {
    return this.#endWith(this.#recordBytesMax) > this.#lapEnd;
  }

  /** Resolves when there may be room where there is none though the log is not full. Rejects where the disk fails. */
  async unblocked(): Promise<void> {
    // Either a new file is being filled, or too much is not durable yet.
    if (this.#filler !== null && this.#endWith(this.#recordBytesMax) > this.#filler.limit) await this.#filler.givenWay;
    else await this.#appender.sync();
  }

  get #recordBytesMax(): number {
    return dataRecordBytes(0, this.dataBytesMax + 2 * PAGE_BYTES);
  }

  /** Where the log ends, with its group, once a record of `bytes` has been appended. */
  #endWith(bytes: number): number {
    return alignUp(this.#appender.placeFor(bytes) + bytes, GROUP_ALIGN_BYTES);
  }

  /** Where the file comes round again that the head is in, and is still needed. */
  get #lapEnd(): number {
    return this.#files.fileStart(this.#head.position) + this.#files.sizeBytes;
  }

  /**
   * Appends a write of `lead`, `data` and `tail`, one after another, together at most `dataBytesMax`. Returns the record's
   * number. There must be room.
   */
  appendData(offset: number, lead: Buffer, data: Buffer, tail: Buffer): number {
    const length = lead.length + data.length + tail.length;
    const checksumCount = pagesTouched(offset, length);
    const { slab, at, position } = this.#appender.append(dataRecordBytes(offset, length));
    const dataAt = at + RECORD_HEADER_BYTES + checksumCount * 4;
    lead.copy(slab.buffer, dataAt);
    data.copy(slab.buffer, dataAt + lead.length);
    tail.copy(slab.buffer, dataAt + lead.length + data.length);
    const number = this.#add(DATA, position, offset, length);
    for (let index = 0; index < checksumCount; index++) {
      const { from, to } = pagePart(offset, length, index);
      const checksum = checksumOf(slab.buffer, dataAt + from, dataAt + to);
      writeChecksum(slab.buffer, at, index, checksum);
      this.records.setChecksum(number, index, checksum);
    }
    this.#seal(slab.buffer, at, number, checksumCount);
    return number;
  }

  /** Appends a zeroing of any length. There must be room. */
  appendZero(offset: number, length: number): number {
    const { slab, at, position } = this.#appender.append(RECORD_HEADER_BYTES);
    const number = this.#add(ZERO, position, offset, length);
    this.#seal(slab.buffer, at, number, 0);
    return number;
  }

  /** Makes every record so far durable. Undefined where they are. May be tried again where it rejects. */
  sync(): Promise<void> | undefined {
    return this.#appender.sync();
  }

  /**
   * Reads the parts of `count` pages of a write, from its page `index` on, one after another into `target`, which is as long
   * as they are together. CORRUPT where one does not pass its check.
   */
  readSync(number: number, index: number, count: number, target: Buffer): void {
    const { from } = pagePart(this.records.offset(number), this.records.length(number), index);
    const position = this.records.dataPosition(number) + from;
    const slab = this.#appender.slabAt(position);
    if (slab !== undefined)
      slab.buffer.copy(target, 0, position - slab.position, position - slab.position + target.length);
    else if (this.#files.readSync(target, position) < target.length) target.fill(0);
    this.#check(number, index, count, target);
  }

  /** As `readSync`, without standing in anybody's way. The records must stay until it has resolved. */
  async read(number: number, index: number, count: number, target: Buffer): Promise<void> {
    const { from } = pagePart(this.records.offset(number), this.records.length(number), index);
    const position = this.records.dataPosition(number) + from;
    if (this.#appender.slabAt(position) !== undefined) {
      this.readSync(number, index, count, target);
      return;
    }
    if ((await this.#files.read(target, position)) < target.length) target.fill(0);
    this.#check(number, index, count, target);
  }

  /** Records before `number` are not needed any more. Their space is free once `commitHead` has resolved. */
  dropBefore(number: number): void {
    if (number <= this.records.first) return;
    const isEmpty = number >= this.records.end;
    this.#firstPosition = isEmpty ? this.#appender.position : this.records.position(number);
    this.records.dropBefore(number);
  }

  /** Where the log begins at this moment, to be committed once everything else that this depends on is durable. */
  markHead(): HeadMark {
    const { first, end } = this.records;
    if (first < end) {
      return { number: first, position: this.#firstPosition, previousChecksum: this.records.previousChecksum(first) };
    }
    return { number: first, position: this.#appender.position, previousChecksum: this.#previousChecksum };
  }

  /** Writes down where the log begins, after which the space before that is free. Marks are committed in the order made. */
  commitHead(mark: HeadMark): Promise<void> {
    const written = this.#writingHead.then(() => this.#commitHead(mark));
    this.#writingHead = written.catch(() => {});
    return written;
  }

  /**
   * Makes syncs of a log that is new cheaper, in the background: LogFiller. From then on the log is to be closed by `close`.
   * `requests`: how many there have been of the volume.
   */
  fill(clock: Clock, requests: () => number): void {
    if (this.#filler !== null || this.#head.position > 0 || this.#appender.position > 0) return;
    this.#filler = new LogFiller({
      files: this.#files,
      clock,
      log: this.#options.log,
      position: () => this.#appender.position,
      requests,
    });
    this.#filler.begin();
  }

  /** Syncs what is there, and closes the files. Rejects, with the files closed all the same, where syncing fails. */
  async close(): Promise<void> {
    try {
      await this.#filler?.stop();
      await this.sync();
      await this.#writingHead;
      // The same head: what it says of durability is news.
      const { number, position, previousChecksum } = this.#head;
      await this.#commitHead({ number, position, previousChecksum });
    } finally {
      this.abandon();
    }
  }

  /** Closes the files as they are. */
  abandon(): void {
    this.#appender.abandon();
    this.#files.close();
    this.#headFile.close();
  }

  async #commitHead(mark: HeadMark): Promise<void> {
    const { durablePosition } = this.#appender;
    const head: LogHead = { ...this.#head, ...mark, sequence: this.#head.sequence + 1, durablePosition };
    await this.#headFile.write(head);
    this.#head = head;
    this.#options.onRoom();
  }

  #add(kind: typeof DATA | typeof ZERO, position: number, offset: number, length: number): number {
    const previousChecksum = this.#previousChecksum;
    return this.records.add({ position, kind, offset, length, previousChecksum, atMs: this.#options.nowMs() });
  }

  #seal(buffer: Buffer, at: number, number: number, checksumCount: number): void {
    const header = this.#header;
    header.position = this.records.position(number);
    header.number = number;
    header.offset = this.records.offset(number);
    header.length = this.records.length(number);
    header.durablePosition = this.#appender.durablePosition;
    header.kind = this.records.kind(number);
    header.checksumCount = checksumCount;
    header.life = this.#head.life;
    header.previousChecksum = this.#previousChecksum;
    encodeRecordHeader(buffer, at, header, this.#options.salt);
    this.#previousChecksum = header.checksum;
  }

  #check(number: number, index: number, count: number, bytes: Buffer): void {
    const offset = this.records.offset(number);
    const length = this.records.length(number);
    const start = pagePart(offset, length, index).from;
    for (let page = index; page < index + count; page++) {
      const { from, to } = pagePart(offset, length, page);
      if (checksumOf(bytes, from - start, to - start) === this.records.checksum(number, page)) continue;
      const at = offset + from;
      throw new StorageError(
        'CORRUPT',
        `the cache disk has damaged bytes ${at} to ${at + to - from} of the volume, which are not in the bucket yet`,
      );
    }
  }
}

/** A log that was only read. */
export interface FoundLog {
  readonly log: WriteLog;
  readonly damaged: readonly DamagedPart[];
  readonly loss: StorageError | null;
}

interface WriteLogParts {
  readonly files: LogFiles;
  readonly headFile: LogHeadFile;
  readonly head: LogHead;
  readonly records: LogRecords;
  readonly position: number;
  readonly previousChecksum: number;
}

function geometryOf(sizeBytes: number): { fileBytes: number; fileCount: number; totalBytes: number } {
  const fileCount = sizeBytes >= FILE_COUNT * FILE_BYTES_MIN * 16 ? FILE_COUNT : FILE_COUNT_MIN;
  const fileBytes = Math.max(FILE_BYTES_MIN, Math.floor(sizeBytes / fileCount / FILE_BYTES_MIN) * FILE_BYTES_MIN);
  return { fileBytes, fileCount, totalBytes: fileBytes * fileCount };
}

/**
 * Makes [from, to) durable by writing it once more. That it can be read proves nothing: an earlier process may have met a
 * failed sync there, after which the system takes for written what is only in its memory. What follows the last record in its
 * group goes: a torn record there would pass for one that was durable once, as soon as anything behind it is.
 */
async function writeAgain(files: LogFiles, claimed: number, end: LogEnd): Promise<void> {
  const { recordsEndPosition, position: to } = end;
  const piece = Buffer.allocUnsafe(DATA_BYTES_MAX);
  const from = Math.min(claimed, recordsEndPosition);
  let position = from - (from % GROUP_ALIGN_BYTES);
  while (position < to) {
    const bytes = piece.subarray(0, Math.min(piece.length, to - position, files.fileEnd(position) - position));
    const readBytes = await files.read(bytes, position);
    if (position + readBytes > recordsEndPosition) bytes.fill(0, Math.max(0, recordsEndPosition - position));
    await files.write(bytes.subarray(0, readBytes), position);
    position += bytes.length;
  }
  if (from < to) await files.datasync(from, to);
}

/** New files, after whatever an empty log of another size has left. */
async function makeFiles(options: WriteLogOptions, found: LogHead | null): Promise<{ files: LogFiles; head: LogHead }> {
  const { disk, directory, sizeBytes } = options;
  for (const name of disk.list(directory)) if (name !== 'head') disk.remove(`${directory}/${name}`);
  const { fileBytes, fileCount } = geometryOf(sizeBytes ?? LOG_BYTES_MIN);
  const files = await LogFiles.open(disk, directory, fileBytes, fileCount);
  const head: LogHead = {
    sequence: (found?.sequence ?? 0) + 1,
    life: (found?.life ?? 0) + 1,
    number: found?.number ?? 0,
    previousChecksum: 0,
    fileBytes,
    fileCount,
    position: 0,
    durablePosition: 0,
  };
  return { files, head };
}

/** The salt of the volume's records: FNV-1a of its identity. */
export function saltOf(volumeId: string): number {
  let hash = 0x811c9dc5;
  for (const byte of Buffer.from(volumeId)) hash = Math.imul(hash ^ byte, 0x01000193) >>> 0;
  return hash;
}
