/** What was put in place, written down before it is, so that a later process can take it away. */
import { mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { StorageError } from '../lib/errors.ts';
import { systemReason } from '../lib/system-reason.ts';

export interface MountRecord {
  readonly volume: string;
  /** Where it is, or is to be, mounted. */
  readonly dir: string;
  /** The file that is attached. */
  readonly file: string;
  /** The block device; null while there is none. */
  readonly device: string | null;
  /** The kernel's number of the attachment; null where it gives none. */
  readonly sequence: string | null;
  /** The boot it was put in place on: nothing of it outlives that. */
  readonly boot: string;
}

/** One file for each volume in a directory of its own. */
export class MountRecords {
  readonly #dir: string;

  /** `dir` is created with the first record. */
  constructor(dir: string) {
    this.#dir = dir;
  }

  /** Files that are no record are passed over: they were not ours. */
  list(): MountRecord[] {
    let names: string[];
    try {
      names = readdirSync(this.#dir);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
      throw this.#unusable(error);
    }
    return names.filter((name) => name.endsWith('.json')).flatMap((name) => this.#read(join(this.#dir, name)));
  }

  write(record: MountRecord): void {
    const path = this.#path(record.volume);
    try {
      mkdirSync(this.#dir, { recursive: true, mode: 0o700 });
      writeFileSync(`${path}.new`, JSON.stringify(record), { flush: true });
      renameSync(`${path}.new`, path);
    } catch (error) {
      throw this.#unusable(error);
    }
  }

  remove(volume: string): void {
    try {
      rmSync(this.#path(volume), { force: true });
    } catch (error) {
      throw this.#unusable(error);
    }
  }

  #read(path: string): MountRecord[] {
    let value: unknown;
    try {
      value = JSON.parse(readFileSync(path, 'utf8'));
    } catch {
      return [];
    }
    return isRecord(value) ? [value] : [];
  }

  #path(volume: string): string {
    return join(this.#dir, `${volume}.json`);
  }

  #unusable(cause: unknown): StorageError {
    return new StorageError('INVALID', `cannot use the directory ${this.#dir}: ${systemReason(cause)}`, { cause });
  }
}

function isRecord(value: unknown): value is MountRecord {
  if (typeof value !== 'object' || value === null) return false;
  const { volume, dir, file, device, sequence, boot } = value as Partial<Record<keyof MountRecord, unknown>>;
  const texts = [volume, dir, file, boot].every((text) => typeof text === 'string');
  return texts && [device, sequence].every((text) => text === null || typeof text === 'string');
}
