/** The disk of the operating system. */
import { closeSync, constants, fsync, open, openSync, readdirSync, renameSync, statSync, unlinkSync } from 'node:fs';
import { diskError, errnoOf, pathError } from './disk/disk-errors.ts';
import { makeDirectory } from './disk/make-directory.ts';
import { SystemFile } from './disk/system-file.ts';
import type { Disk, DiskFile } from './disk.ts';

const FILE_MODE = 0o600;

/** What it makes is its user's alone. */
export class SystemDisk implements Disk {
  open(path: string): DiskFile {
    try {
      return new SystemFile(path, openSync(path, constants.O_RDWR | constants.O_CREAT, FILE_MODE));
    } catch (cause) {
      throw pathError('open', path, cause);
    }
  }

  exists(path: string): boolean {
    try {
      return statSync(path, { throwIfNoEntry: false }) !== undefined;
    } catch (cause) {
      if (errnoOf(cause) === 'ENOTDIR') return false;
      throw pathError('look for', path, cause);
    }
  }

  list(directory: string): string[] {
    try {
      return readdirSync(directory);
    } catch (cause) {
      if (errnoOf(cause) === 'ENOENT') return [];
      throw pathError('list', directory, cause);
    }
  }

  makeDirectory(directory: string): void {
    try {
      makeDirectory(directory);
    } catch (cause) {
      throw pathError('make the directory', directory, cause);
    }
  }

  rename(from: string, to: string): void {
    try {
      renameSync(from, to);
    } catch (cause) {
      throw pathError(`rename ${from} to`, to, cause);
    }
  }

  remove(path: string): void {
    try {
      unlinkSync(path);
    } catch (cause) {
      if (errnoOf(cause) !== 'ENOENT') throw pathError('remove', path, cause);
    }
  }

  syncDirectory(directory: string): Promise<void> {
    return new Promise((resolve, reject) => {
      open(directory, constants.O_RDONLY | constants.O_DIRECTORY, (cause, fd) => {
        if (cause !== null) return reject(pathError('sync the directory', directory, cause));
        fsync(fd, (error) => {
          closeSync(fd);
          if (error === null) resolve();
          else reject(diskError('sync the directory', directory, error));
        });
      });
    });
  }
}
