/**
 * A volume with a log, as plain as can be, to try the simulation on: it must pass, and with a mistake built in it must not.
 */
import type { Layout } from '../../src/layout/layout.ts';
import { StorageError } from '../../src/lib/errors.ts';
import type { DeviceExtent, WriteOptions } from '../../src/volume/block-device.ts';
import { type LogRecord, ReferenceLog } from './reference-log.ts';
import { Overlay, PAGE_BYTES } from './reference-overlay.ts';
import type { SimVolume, Subject, SubjectOptions } from './subject.ts';

/** What somebody might get wrong. */
export const MISTAKES = [
  'flush without sync',
  'replay across a gap',
  'no checksums',
  'the rest of a partial page is lost',
  'a stale page after a crash',
  'a page rewritten during its upload is forgotten',
  'the log is dropped before the upload is done',
  'a failed sync is tried again and believed',
  'names are not synced',
  'a write is answered before it is in the log',
  'a flush waits for an upload that may never be due',
  'a write fails while the bucket is away',
  'a rejection that nobody handles',
  'the buffer of a read is used again',
  'closing leaves something behind',
] as const;

export type Mistake = (typeof MISTAKES)[number];

export function referenceSubject(mistake: Mistake | null = null): Subject {
  return {
    name: mistake ?? 'reference',
    noticesDamage: false,
    open: (options) => ReferenceVolume.open(options, mistake),
  };
}

class ReferenceVolume implements SimVolume {
  readonly #options: SubjectOptions;
  readonly #layout: Layout;
  readonly #mistake: Mistake | null;
  readonly #log: ReferenceLog;
  /** What is not in the bucket: the older is being uploaded. */
  #older: Overlay | null = null;
  #newer = new Overlay();
  #upload: Promise<void> | null = null;
  #failure: unknown = null;
  /** Writes that wait for room, and all that follow them. */
  #queue: Promise<void> = Promise.resolve();
  #queued = 0;
  /** The upload under way has failed at least once. */
  #isAway = false;
  #closed = false;
  /** Only with the mistake of that name: flushes that wait for the next upload. */
  #waiting: (() => void)[] = [];
  readonly #buffer = Buffer.alloc(64 * PAGE_BYTES);
  /** Only with the mistake of that name: pages as they were read once, by number. */
  readonly #stale = new Map<number, Buffer>();

  private constructor(options: SubjectOptions, mistake: Mistake | null, log: ReferenceLog) {
    this.#options = options;
    this.#layout = options.layout;
    this.#mistake = mistake;
    this.#log = log;
  }

  static async open(options: SubjectOptions, mistake: Mistake | null): Promise<ReferenceVolume> {
    const { log, records } = await ReferenceLog.open(options.disk, options.directory, mistake);
    const volume = new ReferenceVolume(options, mistake, log);
    for (const record of records) volume.#apply(record);
    if (mistake === 'a stale page after a crash') volume.#loadStale();
    return volume;
  }

  async read(offset: number, length: number): Promise<Buffer> {
    this.#checkUsable();
    if (this.#queued > 0) await this.#queue;
    const first = this.#older ?? this.#newer;
    const bytes = Buffer.from(await this.#layout.read(offset, length));
    if (this.#mistake === 'a stale page after a crash') this.#readStale(offset, bytes);
    // Some of these may have been uploaded meanwhile, perhaps after the layout was asked.
    for (let overlay: Overlay | null = first; overlay !== null; overlay = overlay.next) overlay.applyTo(bytes, offset);
    if (this.#mistake !== 'the buffer of a read is used again' || length > this.#buffer.length) return bytes;
    bytes.copy(this.#buffer);
    return this.#buffer.subarray(0, length);
  }

  write(offset: number, data: Buffer, { fua }: WriteOptions): void | Promise<void> {
    return this.#append({ offset, length: data.length, data }, fua);
  }

  zero(offset: number, length: number, { fua }: WriteOptions): void | Promise<void> {
    return this.#append({ offset, length, data: null }, fua);
  }

  trim(offset: number, length: number, options: WriteOptions): void | Promise<void> {
    return this.zero(offset, length, options);
  }

  async flush(): Promise<void> {
    this.#checkUsable();
    await this.#queue;
    if (this.#mistake === 'a flush waits for an upload that may never be due') await this.#untilUploaded();
    if (this.#options.durability === 's3') await this.uploadAll();
    else if (this.#mistake !== 'flush without sync') await this.#sync();
  }

  async #untilUploaded(): Promise<void> {
    while (this.#upload !== null) await this.#upload;
    if (this.#log.sizeBytes > 0) await new Promise<void>((resolve) => this.#waiting.push(resolve));
  }

  extents(_offset: number, length: number): DeviceExtent[] {
    return [{ length, hole: false, zero: false, state: this.#log.sizeBytes > 0 ? 'dirty' : 'clean' }];
  }

  prefetch(): void {}

  status(): unknown {
    return { logBytes: this.#log.sizeBytes };
  }

  async uploadAll(): Promise<void> {
    this.#checkUsable();
    await this.#queue;
    // The one under way may have begun before the last write.
    await this.#upload;
    await this.#startUpload();
  }

  async close(giveUp: AbortSignal): Promise<boolean> {
    await this.#queue;
    if (this.#mistake === 'closing leaves something behind') return true;
    await this.#sync();
    const { promise: gaveUp, resolve } = Promise.withResolvers<false>();
    const onAbort = (): void => resolve(false);
    if (giveUp.aborted) onAbort();
    giveUp.addEventListener('abort', onAbort);
    const uploaded = this.uploadAll().then(() => true);
    const all = await Promise.race([uploaded, gaveUp]);
    this.#closed = true;
    uploaded.catch(() => {});
    return all;
  }

  #append(record: LogRecord, fua: boolean): void | Promise<void> {
    this.#checkUsable();
    if (this.#isAway && this.#mistake === 'a write fails while the bucket is away') {
      throw new StorageError('UNAVAILABLE', 'the bucket is away');
    }
    if (!this.#hasRoom() && this.#upload === null) this.#startUpload().catch(() => {});
    if (this.#queued > 0 || !this.#hasRoom()) {
      this.#queued++;
      const data = record.data === null ? null : Buffer.from(record.data);
      const queued = this.#queue.then(async () => {
        try {
          while (!this.#hasRoom()) await this.#startUpload();
          this.#appendNow({ ...record, data });
        } finally {
          this.#queued--;
        }
      });
      this.#queue = queued.catch(() => {});
      return fua ? queued.then(() => this.flush()) : queued;
    }
    if (this.#mistake === 'a write is answered before it is in the log' && !fua) {
      const data = record.data === null ? null : Buffer.from(record.data);
      this.#apply({ ...record, data });
      setImmediate(() => this.#logLate({ ...record, data }));
      return;
    }
    this.#appendNow(record);
    return fua ? this.flush() : undefined;
  }

  #logLate(record: LogRecord): void {
    try {
      this.#log.append(record);
    } catch (error) {
      this.#failure = error;
    }
  }

  #appendNow(record: LogRecord): void {
    this.#checkUsable();
    try {
      this.#log.append(record);
    } catch (error) {
      // What follows half a record would never be found.
      this.#failure = error;
      throw error;
    }
    this.#apply(record);
    this.#uploadWhenDue();
  }

  #apply({ offset, length, data }: LogRecord): void {
    const isPartial = offset % PAGE_BYTES !== 0 || length % PAGE_BYTES !== 0;
    if (this.#mistake === 'the rest of a partial page is lost' && isPartial) this.#newer.clearPagesOf(offset, length);
    this.#newer.write(offset, length, data);
    for (const page of this.#stale.keys()) {
      if (page * PAGE_BYTES < offset + length && (page + 1) * PAGE_BYTES > offset) this.#stale.delete(page);
    }
  }

  #hasRoom(): boolean {
    return this.#log.sizeBytes < this.#options.logSizeBytes;
  }

  async #sync(): Promise<void> {
    try {
      await this.#log.sync();
    } catch (error) {
      if (this.#mistake !== 'a failed sync is tried again and believed') this.#failure = error;
      else await this.#log.sync();
    }
    if (this.#failure !== null) throw this.#failure;
  }

  #uploadWhenDue(): void {
    const { clock, upload } = this.#options;
    if (this.#upload !== null || this.#log.sizeBytes === 0) return;
    if (this.#log.sizeBytes >= upload.dirtyBytesMax) this.#startUpload().catch(() => {});
    else
      clock.sleep(upload.ageMs).then(
        () => (this.#closed || this.#upload !== null ? undefined : this.#startUpload().catch(() => {})),
        () => {},
      );
  }

  #startUpload(): Promise<void> {
    this.#upload ??= this.#runUpload().finally(() => {
      this.#upload = null;
    });
    return this.#upload;
  }

  async #runUpload(): Promise<void> {
    this.#checkUsable();
    if (this.#newer.isEmpty) return;
    try {
      await this.#log.turn();
    } catch (error) {
      this.#failure = error;
      throw error;
    }
    const overlay = this.#newer;
    this.#older = overlay;
    this.#newer = new Overlay();
    overlay.next = this.#newer;
    if (this.#mistake === 'the log is dropped before the upload is done') await this.#log.dropOlder();
    for (;;) {
      try {
        await this.#layout.commit({ extents: overlay.extents() });
        break;
      } catch {
        if (this.#mistake === 'a rejection that nobody handles')
          void Promise.reject(new Error('the upload has failed'));
        this.#isAway = true;
        await this.#options.clock.sleep(1000);
        this.#checkUsable();
      }
    }
    this.#isAway = false;
    if (this.#mistake === 'a page rewritten during its upload is forgotten') this.#newer.forgetPagesOf(overlay);
    this.#older = null;
    for (const resolve of this.#waiting.splice(0)) resolve();
    await this.#log.dropOlder().catch((error: unknown) => {
      this.#failure = error;
      throw error;
    });
  }

  #checkUsable(): void {
    if (this.#closed) throw new StorageError('CANCELLED', 'the volume is closed');
    if (this.#failure !== null) throw this.#failure;
  }

  #readStale(offset: number, bytes: Buffer): void {
    for (let at = 0; at < bytes.length; at += PAGE_BYTES) {
      const page = (offset + at) / PAGE_BYTES;
      if (!Number.isInteger(page) || at + PAGE_BYTES > bytes.length) return;
      const known = this.#stale.get(page);
      if (known !== undefined) {
        known.copy(bytes, at);
        continue;
      }
      if (this.#older?.touches(page) === true || this.#newer.touches(page)) continue;
      const copy = Buffer.from(bytes.subarray(at, at + PAGE_BYTES));
      this.#stale.set(page, copy);
      const file = this.#options.disk.open(`${this.#options.directory}/stale`);
      const entry = Buffer.concat([Buffer.from([1]), copy]);
      file.writeSync(entry, page * entry.length);
      file.close();
    }
  }

  #loadStale(): void {
    const file = this.#options.disk.open(`${this.#options.directory}/stale`);
    const entry = Buffer.alloc(PAGE_BYTES + 1);
    for (let page = 0; file.readSync(entry, page * entry.length) === entry.length; page++) {
      if (entry[0] === 1) this.#stale.set(page, Buffer.from(entry.subarray(1)));
    }
    file.close();
  }
}
