/** The log of the reference volume: files of records, of which the last is appended to and those before it are uploaded. */
import { crc32 } from 'node:zlib';
import type { Disk, DiskFile } from '../../src/lib/disk.ts';
import type { Mistake } from './reference-volume.ts';

export interface LogRecord {
  readonly offset: number;
  readonly length: number;
  /** Null: zeros. */
  readonly data: Buffer | null;
}

const MAGIC = 0x52_45_43_31;
/** Magic, checksum of all that follows, file number, offset, length, bytes of data. */
const HEADER_BYTES = 28;
const NEW = 'new';

export class ReferenceLog {
  readonly #disk: Disk;
  readonly #directory: string;
  readonly #mistake: Mistake | null;
  #number: number;
  #file: DiskFile;
  #fileBytes = 0;
  #olderBytes = 0;
  #older: string[] = [];
  /** Only with the mistake of replaying across a gap: files that are used again as they are. */
  readonly #free: string[] = [];

  private constructor(disk: Disk, directory: string, mistake: Mistake | null, number: number, file: DiskFile) {
    this.#disk = disk;
    this.#directory = directory;
    this.#mistake = mistake;
    this.#number = number;
    this.#file = file;
  }

  /** Reads what there is, and writes it again into one new file: that it can be read does not say that it is durable. */
  static async open(
    disk: Disk,
    directory: string,
    mistake: Mistake | null,
  ): Promise<{ log: ReferenceLog; records: LogRecord[] }> {
    disk.makeDirectory(directory);
    await disk.syncDirectory(directory.slice(0, directory.lastIndexOf('/')));
    const numbers = disk
      .list(directory)
      .filter((name) => /^\d+$/.test(name))
      .map(Number)
      .sort((a, b) => a - b);
    const records = numbers.flatMap((number) => readRecords(disk, `${directory}/${number}`, number, mistake));
    const number = (numbers.at(-1) ?? 0) + 1;
    const path = `${directory}/${NEW}`;
    disk.remove(path);
    const log = new ReferenceLog(disk, directory, mistake, number, disk.open(path));
    for (const record of records) log.append(record);
    await log.#file.datasync();
    disk.rename(path, `${directory}/${number}`);
    await log.#syncNames();
    for (const old of numbers) {
      disk.remove(`${directory}/${old}`);
      await log.#syncNames();
    }
    return { log, records };
  }

  get sizeBytes(): number {
    return this.#fileBytes + this.#olderBytes;
  }

  append({ offset, length, data }: LogRecord): void {
    const record = Buffer.alloc(HEADER_BYTES + (data?.length ?? 0));
    record.writeUInt32LE(MAGIC, 0);
    record.writeUInt32LE(this.#number, 8);
    record.writeUInt32LE(offset, 12);
    record.writeUInt32LE(length, 16);
    record.writeUInt32LE(data?.length ?? 0, 20);
    record.writeUInt32LE(this.#fileBytes, 24);
    data?.copy(record, HEADER_BYTES);
    record.writeUInt32LE(crc32(record.subarray(8)), 4);
    this.#file.writeSync(record, this.#fileBytes);
    this.#fileBytes += record.length;
  }

  sync(): Promise<void> {
    return this.#file.datasync();
  }

  /** What follows goes to another file; all before it is durable. */
  async turn(): Promise<void> {
    await this.#file.datasync();
    // What has been appended meanwhile is synced too, and nothing can come in between any more.
    while (true) {
      const bytes = this.#fileBytes;
      await this.#file.datasync();
      if (bytes === this.#fileBytes) break;
    }
    const path = `${this.#directory}/${this.#number + 1}`;
    const free = this.#free.pop();
    if (free !== undefined) this.#disk.rename(free, path);
    const next = this.#disk.open(path);
    this.#older.push(`${this.#directory}/${this.#number}`);
    this.#olderBytes += this.#fileBytes;
    this.#number++;
    this.#file = next;
    this.#fileBytes = 0;
    await this.#syncNames();
  }

  /** What came before the last turn is not needed any more. */
  async dropOlder(): Promise<void> {
    for (const path of this.#older.splice(0)) {
      if (this.#mistake === 'replay across a gap') {
        const free = `${path}.free`;
        this.#disk.rename(path, free);
        this.#free.push(free);
      } else {
        this.#disk.remove(path);
      }
      await this.#syncNames();
    }
    this.#olderBytes = 0;
  }

  async #syncNames(): Promise<void> {
    if (this.#mistake !== 'names are not synced') await this.#disk.syncDirectory(this.#directory);
  }
}

function readRecords(disk: Disk, path: string, number: number, mistake: Mistake | null): LogRecord[] {
  const file = disk.open(path);
  const bytes = Buffer.alloc(file.sizeBytes());
  file.readSync(bytes, 0);
  file.close();
  const records: LogRecord[] = [];
  for (let at = 0; at + HEADER_BYTES <= bytes.length; ) {
    const record = parseRecord(bytes, at, number, mistake);
    if (record !== null) {
      records.push(record);
      at += HEADER_BYTES + (record.data?.length ?? 0);
    } else if (mistake === 'replay across a gap') {
      at++;
    } else {
      break;
    }
  }
  return records;
}

function parseRecord(bytes: Buffer, at: number, number: number, mistake: Mistake | null): LogRecord | null {
  if (bytes.readUInt32LE(at) !== MAGIC) return null;
  if (bytes.readUInt32LE(at + 8) !== number && mistake !== 'replay across a gap') return null;
  const dataBytes = bytes.readUInt32LE(at + 20);
  const end = at + HEADER_BYTES + dataBytes;
  if (end > bytes.length || bytes.readUInt32LE(at + 24) !== at) return null;
  const isSound = bytes.readUInt32LE(at + 4) === crc32(bytes.subarray(at + 8, end));
  if (!isSound && mistake !== 'no checksums') return null;
  const data = dataBytes === 0 ? null : Buffer.from(bytes.subarray(at + HEADER_BYTES, end));
  return { offset: bytes.readUInt32LE(at + 12), length: bytes.readUInt32LE(at + 16), data };
}
