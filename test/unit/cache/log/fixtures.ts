/** Write logs on a simulated disk, and disks whose calls a test holds back or fails one by one. */
import type { DamagedPart } from '../../../../src/cache/log/log-replay.ts';
import { LOG_BYTES_MIN, WriteLog } from '../../../../src/cache/log/write-log.ts';
import { PAGE_BYTES } from '../../../../src/cache/page.ts';
import type { Disk, DiskFile } from '../../../../src/lib/disk.ts';
import { type Log, silentLog } from '../../../../src/lib/log.ts';
import { PoisonedSlabs } from '../../../support/poisoned-slabs.ts';
import { Random } from '../../../support/random.ts';
import { SimDisk, type SimDiskOptions } from '../../../support/sim-disk.ts';
import { VirtualClock } from '../../../support/virtual-clock.ts';

export const SALT = 7;
export const DIRECTORY = '/cache/log';
export const NONE = Buffer.alloc(0);

export function newDisk(seed = 1, options: Partial<SimDiskOptions> = {}): SimDisk {
  return SimDisk.withDirectory('/cache', { clock: new VirtualClock(), random: new Random(seed), ...options });
}

export interface OpenedLog {
  readonly log: WriteLog;
  readonly damaged: readonly DamagedPart[];
  /** How often there was more room. */
  readonly rooms: () => number;
}

export async function openLog(
  disk: Disk,
  options: { readonly sizeBytes?: number | null; readonly salt?: number; readonly log?: Log } = {},
): Promise<OpenedLog> {
  let rooms = 0;
  const opened = await WriteLog.open({
    disk,
    directory: DIRECTORY,
    sizeBytes: LOG_BYTES_MIN,
    salt: SALT,
    nowMs: () => 0,
    log: silentLog,
    onRoom: () => rooms++,
    slabs: new PoisonedSlabs(),
    ...options,
  });
  return { ...opened, rooms: () => rooms };
}

/** Bytes that tell what they are. */
export function bytesOf(tag: number, length: number): Buffer {
  const bytes = Buffer.alloc(length, tag & 0xff);
  if (length >= 8) bytes.writeDoubleLE(tag, 0);
  return bytes;
}

export function append(log: WriteLog, offset: number, data: Buffer): number {
  return log.appendData(offset, NONE, data, NONE);
}

/** What the record has, page by page as it is checked. */
export function dataOf(log: WriteLog, number: number): Buffer {
  const { records } = log;
  const data = Buffer.alloc(records.length(number));
  const first = Math.floor(records.offset(number) / PAGE_BYTES);
  const end = Math.ceil((records.offset(number) + data.length) / PAGE_BYTES);
  log.readSync(number, 0, end - first, data);
  return data;
}

export function numbers(log: WriteLog): number[] {
  return Array.from({ length: log.records.end - log.records.first }, (_, index) => log.records.first + index);
}

export type Call = 'write' | 'writeSync' | 'datasync' | 'reserve';

/** A disk in front of another. What `before` returns is waited for, and what it throws is what the call fails with. */
export class HookedDisk implements Disk {
  readonly #inner: Disk;
  readonly calls: { readonly call: Call; readonly path: string; readonly position: number; readonly length: number }[] =
    [];
  before: (call: Call, path: string) => void | Promise<void> = () => {};

  constructor(inner: Disk) {
    this.#inner = inner;
  }

  open(path: string): DiskFile {
    const file = this.#inner.open(path);
    const note = (call: Call, position = 0, length = 0): void | Promise<void> => {
      this.calls.push({ call, path, position, length });
      return this.before(call, path);
    };
    return {
      path,
      sizeBytes: () => file.sizeBytes(),
      readSync: (target, position) => file.readSync(target, position),
      read: (target, position) => file.read(target, position),
      writeSync: (source, position) => {
        void note('writeSync', position, source.length);
        file.writeSync(source, position);
      },
      write: async (source, position) => {
        await note('write', position, source.length);
        await file.write(source, position);
      },
      datasync: async () => {
        await note('datasync');
        await file.datasync();
      },
      truncate: (sizeBytes) => file.truncate(sizeBytes),
      reserve: async (sizeBytes) => {
        await note('reserve', 0, sizeBytes);
        await file.reserve(sizeBytes);
      },
      close: () => file.close(),
    };
  }

  exists(path: string): boolean {
    return this.#inner.exists(path);
  }

  list(directory: string): string[] {
    return this.#inner.list(directory);
  }

  makeDirectory(directory: string): void {
    this.#inner.makeDirectory(directory);
  }

  rename(from: string, to: string): void {
    this.#inner.rename(from, to);
  }

  remove(path: string): void {
    this.#inner.remove(path);
  }

  syncDirectory(directory: string): Promise<void> {
    return this.#inner.syncDirectory(directory);
  }
}
