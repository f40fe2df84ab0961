/** What was put in place, written down before it is, so that a later process can take it away. */
import { mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { StorageError } from '../lib/errors.ts';
import { systemReason } from '../lib/system-reason.ts';

/** How a volume becomes a block device: a loop device on its file, or the kernel's NBD client. */
export type Via = 'fuse' | 'nbd';

export interface MountRecord {
  readonly volume: string;
  /** Where it is, or is to be, mounted. */
  readonly dir: string;
  readonly via: Via;
  /** What is attached: the volume's file, or the socket it is served on. */
  readonly file: string;
  /** The block device; null while none has been chosen. */
  readonly device: string | null;
  /** Of loop devices: the kernel's number of the attachment; null where it gives none, and of nbd. */
  readonly sequence: string | null;
  /** Of nbd: the process that attached it, as sysfs names it for as long as it is attached. Null while it is not, and of loop devices. */
  readonly pid: number | null;
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
    const record = asRecord(value);
    return record === null ? [] : [record];
  }

  #path(volume: string): string {
    return join(this.#dir, `${volume}.json`);
  }

  #unusable(cause: unknown): StorageError {
    return new StorageError('INVALID', `cannot use the directory ${this.#dir}: ${systemReason(cause)}`, { cause });
  }
}

function asRecord(value: unknown): MountRecord | null {
  if (typeof value !== 'object' || value === null) return null;
  // What was written down before there was a choice was about loop devices.
  const {
    volume,
    dir,
    via = 'fuse',
    file,
    device,
    pid = null,
    sequence = null,
    boot,
  } = value as Record<keyof MountRecord, unknown>;
  if (typeof volume !== 'string' || typeof dir !== 'string' || typeof file !== 'string' || typeof boot !== 'string') {
    return null;
  }
  if ((via !== 'fuse' && via !== 'nbd') || !(device === null || typeof device === 'string')) return null;
  if (!(pid === null || typeof pid === 'number') || !(sequence === null || typeof sequence === 'string')) return null;
  return { volume, dir, via, file, device, pid, sequence, boot };
}
