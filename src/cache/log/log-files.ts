/** The files of the log: equally long, their space set aside, used in turn. A position in the log counts bytes for ever. */
import type { Disk, DiskFile } from '../../lib/disk.ts';
import { isStorageError, StorageError } from '../../lib/errors.ts';
import { formatSize } from '../../lib/units.ts';

/** Positions at which a group of records may begin: no write of a later group touches what an earlier one has written. */
export const GROUP_ALIGN_BYTES = 4096;

export class LogFiles {
  readonly fileBytes: number;
  readonly #files: readonly DiskFile[];

  private constructor(fileBytes: number, files: readonly DiskFile[]) {
    this.fileBytes = fileBytes;
    this.#files = files;
  }

  /** Opens or makes `count` files of `fileBytes` in the directory. NO_SPACE where the disk has no room for them. */
  static async open(disk: Disk, directory: string, fileBytes: number, count: number): Promise<LogFiles> {
    const files: DiskFile[] = [];
    try {
      for (let index = 0; index < count; index++) {
        const file = disk.open(`${directory}/${String(index).padStart(2, '0')}`);
        files.push(file);
        if (file.sizeBytes() !== fileBytes) await reserve(file, fileBytes, fileBytes * count);
      }
      // Also where all of them were there: that a name can be seen does not say that it is durable.
      await disk.syncDirectory(directory);
    } catch (error) {
      for (const file of files) file.close();
      throw error;
    }
    return new LogFiles(fileBytes, files);
  }

  get sizeBytes(): number {
    return this.fileBytes * this.#files.length;
  }

  /** Where the file ends that the position is in. */
  fileEnd(position: number): number {
    return this.fileStart(position) + this.fileBytes;
  }

  fileStart(position: number): number {
    return Math.floor(position / this.fileBytes) * this.fileBytes;
  }

  /** Bytes from `position` on, which must not go past the end of the file there; returns how many there were. */
  readSync(target: Buffer, position: number): number {
    return this.#at(position).readSync(target, position % this.fileBytes);
  }

  read(target: Buffer, position: number): Promise<number> {
    return this.#at(position).read(target, position % this.fileBytes);
  }

  writeSync(source: Buffer, position: number): void {
    this.#at(position).writeSync(source, position % this.fileBytes);
  }

  write(source: Buffer, position: number): Promise<void> {
    return this.#at(position).write(source, position % this.fileBytes);
  }

  /** Makes what was written in [from, to) durable: at most a lap of the files. */
  async datasync(from: number, to: number): Promise<void> {
    for (let position = this.fileStart(from); position < to; position += this.fileBytes) {
      await this.#at(position).datasync();
    }
  }

  close(): void {
    for (const file of this.#files) file.close();
  }

  #at(position: number): DiskFile {
    return this.#files[Math.floor(position / this.fileBytes) % this.#files.length] as DiskFile;
  }
}

export function alignUp(position: number, bytes: number): number {
  return Math.ceil(position / bytes) * bytes;
}

async function reserve(file: DiskFile, fileBytes: number, logBytes: number): Promise<void> {
  try {
    await file.reserve(fileBytes);
  } catch (error) {
    if (!isStorageError(error, 'NO_SPACE')) throw error;
    const needed = `the write log needs ${formatSize(logBytes)} (cache.logSize), and the disk has no room for it`;
    throw new StorageError('NO_SPACE', `${needed}: make room, or set a smaller one: ${error.message}`, {
      cause: error,
    });
  }
}
