/** Volumes in a bucket in memory: options, environments and openings with everything that a test does not care about. */
import type { Log, LogFields } from '../../../src/lib/log.ts';
import { MemoryObjectStore } from '../../../src/object/memory.ts';
import type { ObjectStore } from '../../../src/object/object-store.ts';
import { type OpenOptions, openVolume, type VolumeEnvironment } from '../../../src/volume/open-volume.ts';
import type { Volume } from '../../../src/volume/volume.ts';
import type { VolumeOptions } from '../../../src/volume/volume-options.ts';
import { parseRecord, type VolumeRecord } from '../../../src/volume/volume-record.ts';
import { VirtualClock } from '../../support/virtual-clock.ts';
import { HookedStore } from './hooked-store.ts';

export const KIB = 1024;
export const BLOCK = 4 * KIB;
export const LIFE_MS = 30_000;
export const PREFIX = 'vol/';
export const RECORD = 'vol/bucketdisk-volume.json';
export const LEASE = 'vol/bucketdisk-lease.json';
export const TOKEN = 'vol/s3backer-mounted';
export const PASSWORD = 'correct horse';

export const never = new AbortController().signal;

export interface LogLine {
  readonly level: 'debug' | 'info' | 'warn' | 'error';
  readonly message: string;
  readonly fields: LogFields;
}

/** A log that a test can read. */
export class LogBook implements Log {
  readonly lines: LogLine[];
  readonly #fields: LogFields;

  constructor(lines: LogLine[] = [], fields: LogFields = {}) {
    this.lines = lines;
    this.#fields = fields;
  }

  debug(message: string, fields?: LogFields): void {
    this.#add('debug', message, fields);
  }

  info(message: string, fields?: LogFields): void {
    this.#add('info', message, fields);
  }

  warn(message: string, fields?: LogFields): void {
    this.#add('warn', message, fields);
  }

  error(message: string, fields?: LogFields): void {
    this.#add('error', message, fields);
  }

  child(fields: LogFields): Log {
    return new LogBook(this.lines, { ...this.#fields, ...fields });
  }

  messages(level: LogLine['level']): string[] {
    return this.lines.filter((line) => line.level === level).map(({ message }) => message);
  }

  #add(level: LogLine['level'], message: string, fields: LogFields = {}): void {
    this.lines.push({ level, message, fields: { ...this.#fields, ...fields } });
  }
}

export function volumeOptions(overrides: Partial<VolumeOptions> = {}): VolumeOptions {
  return {
    name: 'vol',
    url: 'memory:/vol/',
    prefix: PREFIX,
    sizeBytes: 64 * BLOCK,
    blockSizeBytes: BLOCK,
    blockHashPrefix: null,
    compress: 'none',
    compressLevel: null,
    encryption: null,
    readOnly: false,
    sharedDisk: false,
    survey: false,
    durability: 's3',
    ...overrides,
  };
}

export interface Bench {
  readonly store: HookedStore;
  readonly clock: VirtualClock;
  readonly log: LogBook;
  readonly environment: VolumeEnvironment;
  /** What onLost was called with. */
  readonly lost: Error[];
  open(overrides?: Partial<VolumeOptions>, options?: Partial<OpenOptions>): Promise<Volume>;
}

/** One appliance on a bucket. Give several the same `bucket` and `clock` to have them meet. */
export function bench(
  options: {
    readonly bucket?: ObjectStore;
    readonly clock?: VirtualClock;
    readonly instance?: string;
    readonly conditionalPuts?: boolean;
    readonly leaseDurationMs?: number;
  } = {},
): Bench {
  const store = new HookedStore(options.bucket ?? new MemoryObjectStore('bench'));
  const clock = options.clock ?? new VirtualClock();
  const log = new LogBook();
  const lost: Error[] = [];
  const honoured = options.conditionalPuts ?? true;
  store.ignoresConditions = !honoured;
  const instance = options.instance ?? 'first';
  const environment: VolumeEnvironment = {
    store,
    controlStore: store,
    conditionalPuts: () => Promise.resolve({ ifMatch: honoured, ifNoneMatch: honoured }),
    claimant: { instance, host: `${instance}.example`, pid: 7 },
    leaseDurationMs: options.leaseDurationMs ?? LIFE_MS,
    cache: null,
    formerCache: null,
    inFlightBlocksMax: 16,
    clock,
    log,
  };
  return {
    store,
    clock,
    log,
    environment,
    lost,
    open: (overrides = {}, openOptions = {}) =>
      openVolume(volumeOptions(overrides), environment, {
        create: { force: false },
        takeOver: false,
        signal: never,
        onLost: (error) => lost.push(error),
        ...openOptions,
      }),
  };
}

/** A block whose bytes tell which one it is. */
export function blockOf(number: number, sizeBytes = BLOCK): Buffer {
  return Buffer.alloc(sizeBytes, `block ${number};`);
}

export async function writeBlock(volume: Volume, block: number, data = blockOf(block)): Promise<void> {
  await volume.device.write(block * BLOCK, data, { fua: true });
}

export async function readBlock(volume: Volume, block: number): Promise<Buffer> {
  return volume.device.read(block * BLOCK, BLOCK);
}

/** The volume's record as the bucket has it. */
export async function recordIn(store: ObjectStore, key = RECORD): Promise<VolumeRecord | null> {
  const object = await store.get(key);
  return object === null ? null : parseRecord(object);
}

/** Puts a block as s3backer does, without compression. */
export async function putS3backerBlock(
  store: ObjectStore,
  key: string,
  data: Buffer,
  metadata: Readonly<Record<string, string>> = {},
): Promise<void> {
  await store.put(key, data, { headers: { contentType: 'application/x-s3backer-block', metadata } });
}
