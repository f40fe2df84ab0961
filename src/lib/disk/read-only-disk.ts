/** The disk of the operating system, looked at only: what is written goes nowhere, and nothing is made. */
import { constants, openSync } from 'node:fs';
import type { Disk, DiskFile } from '../disk.ts';
import { SystemDisk } from '../system-disk.ts';
import { errnoOf, pathError } from './disk-errors.ts';
import { SystemFile } from './system-file.ts';

/** For looking into a cache that is not ours to change: what opening it would write is left out, and not read again. */
export class ReadOnlyDisk implements Disk {
  readonly #disk = new SystemDisk();

  open(path: string): DiskFile {
    try {
      return new ReadOnlyFile(path, new SystemFile(path, openSync(path, constants.O_RDONLY)));
    } catch (cause) {
      if (errnoOf(cause) === 'ENOENT') return new ReadOnlyFile(path, null);
      throw pathError('open', path, cause);
    }
  }

  exists(path: string): boolean {
    return this.#disk.exists(path);
  }

  list(directory: string): string[] {
    return this.#disk.list(directory);
  }

  makeDirectory(): void {}
  rename(): void {}
  remove(): void {}
  async syncDirectory(): Promise<void> {}
}

/** Without a file it is one that is empty. */
class ReadOnlyFile implements DiskFile {
  readonly path: string;
  readonly #file: SystemFile | null;

  constructor(path: string, file: SystemFile | null) {
    this.path = path;
    this.#file = file;
  }

  sizeBytes(): number {
    return this.#file?.sizeBytes() ?? 0;
  }

  readSync(target: Buffer, position: number): number {
    return this.#file?.readSync(target, position) ?? 0;
  }

  async read(target: Buffer, position: number): Promise<number> {
    return (await this.#file?.read(target, position)) ?? 0;
  }

  writeSync(): void {}
  async write(): Promise<void> {}
  async datasync(): Promise<void> {}
  truncate(): void {}
  async reserve(): Promise<void> {}

  close(): void {
    this.#file?.close();
  }
}
