/**
 * Where the log begins, kept in a small file of two slots that are written in turn, so that one is whole whatever happens. Each has
 * a copy behind both: were the newest of them lost to a bad sector, the one before it would look for records in places that have
 * been written over since, and find an empty log. All little-endian: magic, CRC-32 of the rest, then the fields as doubles in the order of FIELDS.
 */
import { crc32 } from 'node:zlib';
import type { Disk, DiskFile } from '../../lib/disk.ts';
import { StorageError } from '../../lib/errors.ts';
import { GIVE_UP } from '../ways-out.ts';

export interface LogHead {
  /** Counts the writes of the head: the higher one is the newer one. */
  readonly sequence: number;
  readonly fileBytes: number;
  readonly fileCount: number;
  /** Counts the openings of the log. */
  readonly life: number;
  /** The first record that is still needed. */
  readonly number: number;
  /** Where it is, or will be. */
  readonly position: number;
  /** The checksum of the header of the record before it. */
  readonly previousChecksum: number;
  /** Everything below it was durable. */
  readonly durablePosition: number;
}

const MAGIC = 0x31_48_44_42; // "BDH1"
/** As large as any disk's sector, so that writing one slot cannot touch the other. */
const SLOT_BYTES = 4096;
/** From a slot to its copy. */
const COPY_BYTES = 2 * SLOT_BYTES;
const FILE_BYTES = COPY_BYTES + 2 * SLOT_BYTES;
const FIELDS = [
  'sequence',
  'fileBytes',
  'fileCount',
  'life',
  'number',
  'position',
  'previousChecksum',
  'durablePosition',
] as const satisfies readonly (keyof LogHead)[];
const HEAD_BYTES = 8 + FIELDS.length * 8;

export function headPath(directory: string): string {
  return `${directory}/head`;
}

export class LogHeadFile {
  readonly #file: DiskFile;
  readonly #salt: number;
  readonly #slot = Buffer.alloc(SLOT_BYTES);

  /** `salt`: the log's own, so that another log's head is not taken for it. */
  constructor(file: DiskFile, salt: number) {
    this.#file = file;
    this.#salt = salt;
  }

  /**
   * The first head of a log. What has the file's name has a whole head, whatever happens while that is made: half of one would be told
   * as the loss of a log that nobody had begun.
   */
  static async begin(disk: Disk, directory: string, salt: number, head: LogHead): Promise<LogHeadFile> {
    const newPath = `${directory}/head.new`;
    const file = disk.open(newPath);
    try {
      const newHead = new LogHeadFile(file, salt);
      await newHead.reserve();
      await newHead.write(head);
    } finally {
      file.close();
    }
    const path = headPath(directory);
    disk.rename(newPath, path);
    await disk.syncDirectory(directory);
    return new LogHeadFile(disk.open(path), salt);
  }

  /**
   * Null where the log was never begun. CORRUPT where no slot can be told; throws the disk's error where one that may be the newest
   * cannot be read, nor its copy.
   */
  read(): LogHead | null {
    const bytes = Buffer.alloc(FILE_BYTES);
    const heads: LogHead[] = [];
    for (const at of [0, SLOT_BYTES]) {
      const { found, error } = this.#readCopies(at, bytes);
      heads.push(...found);
      if (found.length === 0 && error !== null) throw error;
    }
    if (heads.length > 0) return heads.reduce((a, b) => (b.sequence > a.sequence ? b : a));
    if (bytes.every((byte) => byte === 0)) return null;
    throw new StorageError(
      'CORRUPT',
      `the head of the write log, ${this.#file.path}, is damaged: what was not uploaded is lost. ${GIVE_UP}`,
    );
  }

  /** Sets its space aside, so that it can be written also when the disk is full. */
  async reserve(): Promise<void> {
    if (this.#file.sizeBytes() < FILE_BYTES) await this.#file.reserve(FILE_BYTES);
  }

  /** Durable when it resolves. Heads are written one after another, with ascending sequence. */
  async write(head: LogHead): Promise<void> {
    this.#slot.writeUInt32LE(MAGIC, 0);
    FIELDS.forEach((field, index) => {
      this.#slot.writeDoubleLE(head[field], 8 + index * 8);
    });
    this.#slot.writeUInt32LE(crc32(this.#slot.subarray(8, HEAD_BYTES), this.#salt), 4);
    const position = (head.sequence % 2) * SLOT_BYTES;
    await this.#file.write(this.#slot, position);
    await this.#file.write(this.#slot, position + COPY_BYTES);
    await this.#file.datasync();
  }

  close(): void {
    this.#file.close();
  }

  /** What a slot and its copy say, and why one of them could not be read. Both are put into `bytes`. */
  #readCopies(position: number, bytes: Buffer): { readonly found: readonly LogHead[]; readonly error: unknown } {
    const found: LogHead[] = [];
    let error: unknown = null;
    for (const at of [position, position + COPY_BYTES]) {
      const slot = bytes.subarray(at, at + SLOT_BYTES);
      try {
        this.#file.readSync(slot, at);
        const head = this.#decode(slot);
        if (head !== null) found.push(head);
      } catch (cause) {
        error = cause;
      }
    }
    return { found, error };
  }

  #decode(slot: Buffer): LogHead | null {
    if (slot.readUInt32LE(0) !== MAGIC) return null;
    if (slot.readUInt32LE(4) !== crc32(slot.subarray(8, HEAD_BYTES), this.#salt)) return null;
    const values = FIELDS.map((field, index) => [field, slot.readDoubleLE(8 + index * 8)]);
    return Object.fromEntries(values) as unknown as LogHead;
  }
}
