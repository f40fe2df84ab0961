/**
 * A disk that does what a disk may do and no test can ask of a real one: it loses power, and what was not synced is there
 * wholly, in part or not at all; it fails, fills up, rots and is slow. All of it follows from its random numbers.
 */
import { dirname } from 'node:path/posix';
import type { Clock } from '../../src/lib/clock.ts';
import type { Disk, DiskFile } from '../../src/lib/disk.ts';
import { StorageError } from '../../src/lib/errors.ts';
import type { Random } from './random.ts';
import { Namespace } from './sim-disk/namespace.ts';
import { type Change, type CrashStyle, SimInode } from './sim-disk/sim-inode.ts';
import { UNIT_BYTES } from './sim-disk/sparse-bytes.ts';

export type DiskOperation = 'read' | 'write' | 'sync' | 'names';

/** The share of calls that fail. `names`: opening, renaming, removing and making of directories. */
export type DiskFaults = Record<DiskOperation, number>;

export interface SimDiskOptions {
  readonly clock: Clock;
  readonly random: Random;
  readonly capacityBytes?: number;
  /** How long a call takes that does not answer at once; 0: no time, but not within the caller's turn either. */
  readonly latencyMs?: (operation: DiskOperation) => number;
  /** Told of every call and every fault. */
  readonly trace?: (line: string) => void;
  /** Called before every call takes effect; it may halt the disk. */
  readonly onCall?: () => void;
  /** A buffer was changed while it was being written. Where it is left out the process ends: whoever writes would take it for an error of the disk, and write again. */
  readonly onChanged?: (error: Error) => void;
  /** Those of an earlier disk, which go on here. */
  readonly incidents?: DiskIncidents;
}

/** A call of a program that should be dead: its disk has gone on to another life. */
export class DeadDiskError extends Error {
  override readonly name = 'DeadDiskError';

  constructor() {
    super('the disk of a life that has ended was used');
  }
}

/** What happened since the disk was made, over all its lives. */
export class DiskIncidents {
  readErrors = 0;
  writeErrors = 0;
  syncErrors = 0;
  nameErrors = 0;
  noSpace = 0;
  /** Bits flipped and sectors broken. */
  damages = 0;
}

const SOUND: DiskFaults = { read: 0, write: 0, sync: 0, names: 0 };
const GARBAGE = 0xa5;

/** One life of the disk, from power on to power cut. When that is over, every call on it and its files throws. */
export class SimDisk implements Disk {
  readonly #options: SimDiskOptions;
  readonly #names: Namespace;
  /** How often each file is open: as long as it is, it keeps its space also without a name. */
  readonly #open = new Map<SimInode, number>();
  readonly incidents: DiskIncidents;
  faults: DiskFaults = SOUND;
  capacityBytes: number;
  #dead = false;

  constructor(options: SimDiskOptions, names = new Namespace()) {
    this.#options = options;
    this.#names = names;
    this.incidents = options.incidents ?? new DiskIncidents();
    this.capacityBytes = options.capacityBytes ?? Infinity;
  }

  /** A new disk, with a directory that is there for good. */
  static withDirectory(directory: string, options: SimDiskOptions): SimDisk {
    const names = new Namespace();
    names.add(directory, 'directory');
    names.synced(names.syncable('/'));
    return new SimDisk(options, names);
  }

  get isDead(): boolean {
    return this.#dead;
  }

  get usedBytes(): number {
    const inodes = new Set(this.#open.keys());
    for (const [, inode] of this.#names.files()) inodes.add(inode);
    let units = 0;
    for (const inode of inodes) units += inode.visible.units;
    return units * UNIT_BYTES;
  }

  /** How many files somebody has open. */
  get openFiles(): number {
    return this.#open.size;
  }

  /** Paths and sizes of all files. */
  get files(): readonly { readonly path: string; readonly sizeBytes: number }[] {
    return [...this.#names.files()].map(([path, { visible }]) => ({ path, sizeBytes: visible.sizeBytes }));
  }

  /** Ends this life: from here on no call does anything, and those under way never return. */
  halt(): void {
    this.#dead = true;
  }

  /** The power goes and comes back: the disk of the next life. */
  crash(options: Partial<SimDiskOptions> = {}): SimDisk {
    const { random } = this.#options;
    this.#names.crash(random);
    const style = random.pick<CrashStyle>(['none', 'all', 'sectors', 'sectors', 'writes', 'prefix', 'prefix']);
    for (const [, inode] of this.#names.files()) inode.crash(style, random);
    return this.#nextLife(options);
  }

  /** The process dies and the machine runs on: the next one sees all that was written, synced or not. */
  kill(options: Partial<SimDiskOptions> = {}): SimDisk {
    for (const [, inode] of this.#names.files()) inode.kill(this.#options.random);
    return this.#nextLife(options);
  }

  /** Flips a bit of what is stored, where anything is. */
  flipBit(path: string, position: number): void {
    this.#damaged('flipped a bit of', path, position).flipBit(position, this.#options.random.below(8));
  }

  /** A sector that cannot be read until it has been written again. */
  breakSector(path: string, position: number): void {
    this.#damaged('broke a sector of', path, position).breakSector(position);
  }

  open(path: string): DiskFile {
    this.#begin('names', 'open', path);
    let inode = this.#names.get(path);
    if (inode === 'directory') throw invalid('open', path, 'it is a directory');
    if (inode === undefined) {
      this.#checkParent('open', path);
      inode = new SimInode();
      this.#names.add(path, inode);
    }
    this.#open.set(inode, (this.#open.get(inode) ?? 0) + 1);
    return new SimFile(this, path, inode);
  }

  exists(path: string): boolean {
    this.#checkAlive();
    return this.#names.get(path) !== undefined;
  }

  list(directory: string): string[] {
    this.#begin('names', 'list', directory);
    const entry = this.#names.get(directory);
    if (entry !== undefined && entry !== 'directory') throw invalid('list', directory, 'it is a file');
    return this.#names.list(directory);
  }

  makeDirectory(directory: string): void {
    this.#begin('names', 'make the directory', directory);
    this.#makeDirectory(directory);
  }

  rename(from: string, to: string): void {
    this.#begin('names', `rename ${from} to`, to);
    const entry = this.#names.get(from);
    if (entry === undefined || entry === 'directory' || this.#names.get(to) === 'directory') {
      throw invalid(`rename ${from} to`, to, 'only a file can be renamed, and not to a directory');
    }
    this.#checkParent(`rename ${from} to`, to);
    this.#names.rename(from, to, entry);
  }

  remove(path: string): void {
    this.#begin('names', 'remove', path);
    const entry = this.#names.get(path);
    if (entry === 'directory') throw invalid('remove', path, 'it is a directory');
    if (entry !== undefined) this.#names.remove(path);
  }

  async syncDirectory(directory: string): Promise<void> {
    this.#checkAlive();
    if (this.#names.get(directory) !== 'directory') {
      throw invalid('sync the directory', directory, 'there is no such directory');
    }
    const changes = this.#names.syncable(directory);
    await this.pass('sync');
    this.begin('sync', 'sync the directory', directory);
    this.#names.synced(changes);
  }

  /** For its files: throws where the call is to fail. */
  begin(operation: DiskOperation, what: string, path: string, detail = ''): void {
    this.#begin(operation, what, path, detail);
  }

  /** For its files: takes the time the call takes. When its life has ended meanwhile, it does not return. */
  async pass(operation: DiskOperation): Promise<void> {
    this.#checkAlive();
    const ms = this.#options.latencyMs?.(operation) ?? 0;
    if (ms > 0) await this.#options.clock.sleep(ms);
    else await new Promise((resolve) => setImmediate(resolve));
    if (this.#dead) await new Promise<never>(() => {});
  }

  checkAlive(): void {
    this.#checkAlive();
  }

  get random(): Random {
    return this.#options.random;
  }

  /** For its files. */
  closed(inode: SimInode): void {
    const left = (this.#open.get(inode) ?? 1) - 1;
    if (left === 0) this.#open.delete(inode);
    else this.#open.set(inode, left);
  }

  /** For its files: how many of the units the disk still has room for. */
  roomFor(units: number): number {
    if (this.capacityBytes === Infinity || units === 0) return units;
    return Math.min(units, Math.max(0, Math.floor((this.capacityBytes - this.usedBytes) / UNIT_BYTES)));
  }

  noSpace(what: string, path: string): StorageError {
    this.incidents.noSpace++;
    this.#options.trace?.(`disk: no space to ${what} ${path}`);
    return new StorageError('NO_SPACE', `cannot ${what} ${path}: no space left on device (ENOSPC)`);
  }

  changed(path: string): Error {
    const error = new Error(`what was being written to ${path} was changed meanwhile`);
    const { onChanged } = this.#options;
    if (onChanged !== undefined) onChanged(error);
    else {
      queueMicrotask(() => {
        throw error;
      });
    }
    return error;
  }

  #begin(operation: DiskOperation, what: string, path: string, detail = ''): void {
    this.#checkAlive();
    this.#options.onCall?.();
    this.#checkAlive();
    const fails = this.random.chance(this.faults[operation]);
    this.#options.trace?.(`disk: ${what} ${path}${detail}${fails ? ' FAILS' : ''}`);
    if (!fails) return;
    if (operation === 'names') this.incidents.nameErrors++;
    else this.incidents[`${operation}Errors`]++;
    throw ioError(what, path);
  }

  #checkAlive(): void {
    if (this.#dead) throw new DeadDiskError();
  }

  #checkParent(what: string, path: string): void {
    if (this.#names.get(dirname(path)) !== 'directory') throw invalid(what, path, 'there is no such directory');
  }

  #makeDirectory(directory: string): void {
    const entry = this.#names.get(directory);
    if (entry === 'directory') return;
    if (entry !== undefined) throw invalid('make the directory', directory, 'it is a file');
    this.#makeDirectory(dirname(directory));
    this.#names.add(directory, 'directory');
  }

  #damaged(what: string, path: string, position: number): SimInode {
    const entry = this.#names.get(path);
    if (entry === undefined || entry === 'directory') throw new Error(`there is no file ${path}`);
    this.incidents.damages++;
    this.#options.trace?.(`disk: ${what} ${path} at ${position}`);
    return entry;
  }

  #nextLife(options: Partial<SimDiskOptions>): SimDisk {
    this.#dead = true;
    this.#open.clear();
    const capacityBytes = options.capacityBytes ?? this.capacityBytes;
    return new SimDisk({ ...this.#options, ...options, capacityBytes, incidents: this.incidents }, this.#names);
  }
}

class SimFile implements DiskFile {
  readonly path: string;
  readonly #disk: SimDisk;
  readonly #inode: SimInode;
  #closed = false;
  #underWay = 0;

  constructor(disk: SimDisk, path: string, inode: SimInode) {
    this.path = path;
    this.#disk = disk;
    this.#inode = inode;
  }

  sizeBytes(): number {
    this.#checkOpen();
    return this.#inode.visible.sizeBytes;
  }

  readSync(target: Buffer, position: number): number {
    this.#checkOpen();
    return this.#read(target, position);
  }

  async read(target: Buffer, position: number): Promise<number> {
    this.#checkOpen();
    target.fill(GARBAGE);
    return this.#during(async () => {
      await this.#disk.pass('read');
      return this.#read(target, position);
    });
  }

  writeSync(source: Buffer, position: number): void {
    this.#checkOpen();
    const change = this.#inode.beginWrite(Buffer.from(source), position);
    this.#write(change);
  }

  async write(source: Buffer, position: number): Promise<void> {
    this.#checkOpen();
    const change = this.#inode.beginWrite(Buffer.from(source), position);
    await this.#during(async () => {
      await this.#disk.pass('write');
      if (!change.data.equals(source)) throw this.#disk.changed(this.path);
      this.#write(change);
    });
  }

  async datasync(): Promise<void> {
    this.#checkOpen();
    const changes = this.#inode.syncable();
    await this.#during(async () => {
      await this.#disk.pass('sync');
      try {
        this.#disk.begin('sync', 'sync', this.path, ` (${changes.length} changes)`);
      } catch (error) {
        this.#inode.syncFailed(changes, this.#disk.random);
        throw error;
      }
      this.#inode.synced(changes);
    });
  }

  truncate(sizeBytes: number): void {
    this.#checkOpen();
    this.#disk.begin('write', 'truncate', this.path, ` to ${sizeBytes}`);
    this.#inode.end(this.#inode.beginResize('size', sizeBytes));
  }

  async reserve(sizeBytes: number): Promise<void> {
    this.#checkOpen();
    if (this.#underWay > 0) throw new Error(`reserve while another call on ${this.path} is under way`);
    await this.#during(async () => {
      await this.#disk.pass('write');
      this.#disk.begin('write', 'reserve', this.path, ` up to ${sizeBytes}`);
      const missing = this.#inode.visible.unitsMissing(0, sizeBytes);
      if (this.#disk.roomFor(missing) < missing) throw this.#disk.noSpace('reserve', this.path);
      this.#inode.end(this.#inode.beginResize('reserve', sizeBytes));
    });
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#disk.closed(this.#inode);
  }

  #read(target: Buffer, position: number): number {
    this.#disk.begin('read', 'read', this.path, ` ${position}+${target.length}`);
    if (this.#inode.isBroken(position, target.length)) {
      this.#disk.incidents.readErrors++;
      throw ioError('read', this.path);
    }
    return this.#inode.visible.read(target, position);
  }

  /** What fails may have been carried out from its beginning to anywhere. */
  #write(change: Change): void {
    const { position, data } = change;
    if (data.length === 0) {
      this.#inode.giveUp(change);
      return;
    }
    try {
      this.#disk.begin('write', 'write', this.path, ` ${position}+${data.length}`);
    } catch (error) {
      this.#writePart(change, this.#disk.random.below(data.length + 1));
      throw error;
    }
    const missing = this.#inode.visible.unitsMissing(position, position + data.length);
    const room = this.#disk.roomFor(missing);
    if (room === missing) {
      this.#inode.end(change);
      return;
    }
    // Up to the first unit that does not fit; those that have their space already lie before it or after.
    let length = 0;
    for (; length < data.length; length += UNIT_BYTES - ((position + length) % UNIT_BYTES)) {
      const next = Math.min(data.length, length + UNIT_BYTES - ((position + length) % UNIT_BYTES));
      if (this.#inode.visible.unitsMissing(position, position + next) > room) break;
    }
    this.#writePart(change, Math.min(length, data.length));
    throw this.#disk.noSpace('write', this.path);
  }

  #writePart(change: Change, length: number): void {
    this.#inode.giveUp(change);
    if (length > 0) this.#inode.end(this.#inode.beginWrite(change.data.subarray(0, length), change.position));
  }

  async #during<T>(work: () => Promise<T>): Promise<T> {
    this.#underWay++;
    try {
      return await work();
    } finally {
      this.#underWay--;
    }
  }

  #checkOpen(): void {
    this.#disk.checkAlive();
    if (this.#closed) throw new StorageError('CANCELLED', `${this.path} has been closed`);
  }
}

function ioError(what: string, path: string): StorageError {
  return new StorageError('UNAVAILABLE', `cannot ${what} ${path}: i/o error (EIO)`, { retryable: false });
}

function invalid(what: string, path: string, why: string): StorageError {
  return new StorageError('INVALID', `cannot ${what} ${path}: ${why}`);
}
