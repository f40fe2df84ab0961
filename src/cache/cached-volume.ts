/**
 * A volume behind its cache: writes go to the log and are answered, reads come from the log, the read cache or the bucket,
 * and the uploader brings the log to the bucket.
 */
import { dirname } from 'node:path';
import type { Layout } from '../layout/layout.ts';
import type { Clock } from '../lib/clock.ts';
import { raceAbort, waitOrGiveUp } from '../lib/deadline.ts';
import { makeDurableDirectory } from '../lib/disk/durable-directory.ts';
import type { Disk } from '../lib/disk.ts';
import { describeError, StorageError } from '../lib/errors.ts';
import type { Log } from '../lib/log.ts';
import type { RangeCells, Tally } from '../lib/range-cells.ts';
import { CacheCheck } from './cache-check.ts';
import { logDirectory } from './cache-directory.ts';
import { CleanReader } from './clean-reader.ts';
import { DamagedPages } from './dirty/damaged-pages.ts';
import { dirtySpans, overlayExtents, RunList, type StateExtent } from './dirty/dirty-extents.ts';
import { DirtyStore, PARTIAL_PAGES_MAX } from './dirty/dirty-store.ts';
import { Intake, type IntakeJob } from './intake.ts';
import { saltOf, WriteLog, type WriteLogOptions } from './log/write-log.ts';
import { PAGE_BYTES } from './page.ts';
import { Fetcher } from './read/fetcher.ts';
import { Reader } from './read/reader.ts';
import { ReadCache } from './read-cache/read-cache.ts';
import { SentBlocks } from './upload/sent-blocks.ts';
import { Uploader, type UploadStatus, type UploadTriggers } from './upload/uploader.ts';
import { ZeroJob } from './zero-job.ts';

/** Which of them are cached is found out page by page: a longer range is told of in pieces. */
const EXTENTS_BYTES_MAX = 1024 * 1024 * 1024;

/** `local`: a flush is on the cache's disk. `s3`: it is in the bucket. */
export type Durability = 'local' | 's3';

export interface CachedVolumeOptions {
  readonly disk: Disk;
  /** The volume's own directory. */
  readonly directory: string;
  readonly layout: Layout;
  /** The log and the cached pages found there are taken for this volume's only if they are of this very identity. */
  readonly volumeId: string;
  /** Nobody else can have written the volume since the cache was last used: the clean pages are those of the bucket. */
  readonly trusted: boolean;
  /**
   * Where they are not trusted: resolves with how to tell whether a range of bytes is in the bucket as it was when the cache was
   * last used. Null: that cannot be found out, and they are forgotten.
   */
  readonly unchanged: Promise<(offset: number, length: number) => boolean> | null;
  /** Called once no page is cached any more that is not trusted, and none will be after a crash. */
  readonly onTrusted: () => Promise<void>;
  readonly durability: Durability;
  readonly logSizeBytes: number;
  readonly cacheSizeBytes: number;
  readonly triggers: UploadTriggers;
  /** Why the volume is another writer's now, or null. */
  readonly lost: () => StorageError | null;
  /** How `work` ended, once it is sure that the volume was ours until then. Rejects where it is lost, however that ended. */
  readonly whenOurs: <T>(work: Promise<T>) => Promise<T>;
  readonly clock: Clock;
  readonly log: Log;
  readonly slabs?: WriteLogOptions['slabs'];
}

export interface CachedVolumeStatus {
  readonly durability: Durability;
  /** Bytes that are not in the bucket yet. */
  readonly dirtyBytes: number;
  /** How long the oldest of them has been here; null where there is none. */
  readonly oldestDirtyMs: number | null;
  readonly logUsedBytes: number;
  readonly logSizeBytes: number;
  /** Writes that wait for room. */
  readonly waitingWrites: number;
  /** Pages whose newest bytes are lost. */
  readonly damagedPages: number;
  /** Why the log cannot be made durable at present, or null. */
  readonly logError: string | null;
  readonly upload: UploadStatus;
  readonly cache: ReturnType<ReadCache['status']>;
  /** Pages that were read and had to be fetched. */
  readonly missedPages: number;
}

export class CachedVolume {
  /** For scans. */
  readonly check: CacheCheck;
  readonly #options: CachedVolumeOptions;
  readonly #layout: Layout;
  readonly #writeLog: WriteLog;
  readonly #store: DirtyStore;
  readonly #cache: ReadCache;
  readonly #clean: CleanReader;
  readonly #fetcher: Fetcher;
  readonly #reader: Reader;
  readonly #intake: Intake;
  readonly #uploader: Uploader;
  readonly #reading = new Set<Promise<unknown>>();
  #roomWaiters: (() => void)[] = [];
  #requests = 0;
  #closed = false;

  private constructor(options: CachedVolumeOptions, { writeLog, damaged, cache }: CachedVolumeParts) {
    const { layout, clock, log } = options;
    this.#options = options;
    this.#layout = layout;
    this.#writeLog = writeLog;
    this.#cache = cache;
    const sent = new SentBlocks(layout.blockSizeBytes);
    this.#clean = new CleanReader(cache, layout, sent);
    this.#store = new DirtyStore(writeLog, damaged, (page, target) => this.#clean.read(page, page + 1, target) === 1);
    this.#fetcher = new Fetcher({ layout, sink: cache, whenOurs: options.whenOurs });
    this.#reader = new Reader({ ...options, store: this.#store, clean: this.#clean, fetcher: this.#fetcher });
    this.#intake = new Intake({
      clock,
      fullness: () => writeLog.usedBytes / writeLog.sizeBytes,
      room: (signal) => this.#room(signal),
    });
    this.check = new CacheCheck({ store: this.#store, cache, layout, isTrusted: () => !this.#clean.suspended });
    this.#uploader = new Uploader({
      store: this.#store,
      layout,
      clean: {
        read: (first, end, target) => this.#clean.read(first, end, target),
        insert: (first, data, kind) => cache.insert(first, data, kind),
        invalidate: (first, end) => cache.invalidate(first, end),
        checkpoint: () => cache.checkpoint(),
      },
      fetcher: this.#fetcher,
      sent,
      triggers: options.triggers,
      whenOurs: options.whenOurs,
      clock,
      log,
    });
  }

  /** Opens the cache in `directory`, or makes it, and takes up what a crash has left. CORRUPT where flushed writes are lost; NO_SPACE where the log does not fit. */
  static async open(options: CachedVolumeOptions): Promise<CachedVolume> {
    const { disk, directory, volumeId, clock, log, layout, slabs } = options;
    // Whoever looked whose cache it is has made both, if they were not there.
    for (const path of [dirname(directory), directory]) await makeDurableDirectory(disk, path);
    let volume: CachedVolume | null = null;
    let cache: ReadCache | null = null;
    const { log: writeLog, damaged: damagedParts } = await WriteLog.open({
      disk,
      directory: logDirectory(directory),
      sizeBytes: options.logSizeBytes,
      salt: saltOf(volumeId),
      nowMs: () => clock.now(),
      log,
      slabs,
      onRoom: () => {
        if (volume !== null) volume.#wakeRoomWaiters();
      },
    });
    try {
      const damaged = DamagedPages.open(disk, directory);
      const { cacheSizeBytes: sizeBytes } = options;
      cache = await ReadCache.open({ disk, directory, sizeBytes, identity: volumeId, clock, log });
      volume = new CachedVolume(options, { writeLog, damaged, cache });
      if (!options.trusted) volume.#suspectClean(options.unchanged);
      volume.#store.replay(layout.sizeBytes / PAGE_BYTES, damagedParts);
      volume.#tellReplay();
      volume.#uploader.start();
      const opened = volume;
      writeLog.fill(clock, () => opened.#requests);
      return volume;
    } catch (error) {
      if (volume !== null) volume.#closed = true;
      // What is wrong with it now is not what the opening failed of.
      await cache?.close().catch(() => {});
      writeLog.abandon();
      throw error;
    }
  }

  get sizeBytes(): number {
    return this.#layout.sizeBytes;
  }

  status(): CachedVolumeStatus {
    const { records, usedBytes, sizeBytes, failure } = this.#writeLog;
    const { durability, clock } = this.#options;
    const empty = records.first === records.end;
    return {
      durability,
      dirtyBytes: this.#store.map.bytes,
      oldestDirtyMs: empty ? null : Math.max(0, Math.round(clock.now() - records.appendedAtMs(records.first))),
      logUsedBytes: usedBytes,
      logSizeBytes: sizeBytes,
      waitingWrites: this.#intake.length,
      damagedPages: this.#store.damaged.count,
      logError: failure === null ? null : describeError(failure),
      upload: this.#uploader.status,
      cache: this.#cache.status(),
      missedPages: this.#reader.missedPages,
    };
  }

  /** Adds what is not in the bucket yet to `dirty`, and what is at hand of what is there to `clean`. */
  *tally(dirty: RangeCells, clean: RangeCells): Tally {
    yield* this.#store.map.tally(dirty);
    yield* this.#cache.tally(clean);
  }

  /** See BlockDevice. */
  read(offset: number, length: number): Buffer | Promise<Buffer> {
    this.#check(offset, length, 'INVALID');
    if (this.#intake.overlaps(offset, offset + length)) return this.#track(this.#readInTurn(offset, length));
    const bytes = this.#reader.read(offset, length);
    return Buffer.isBuffer(bytes) ? bytes : this.#track(bytes);
  }

  /** See BlockDevice. */
  readInto(target: Buffer, offset: number): boolean {
    this.#check(offset, target.length, 'INVALID');
    return !this.#intake.overlaps(offset, offset + target.length) && this.#reader.readInto(target, offset);
  }

  write(offset: number, data: Buffer, { fua }: { readonly fua: boolean }): void | Promise<void> {
    this.#check(offset, data.length, 'NO_SPACE');
    const at = this.#intake.isOpen ? this.#writeFrom(offset, data, 0) : 0;
    if (at < data.length) return this.#writeLater(offset, data, at, fua);
    this.#uploader.noteWritten();
    return fua ? this.#durable() : undefined;
  }

  zero(offset: number, length: number, { fua }: { readonly fua: boolean }): void | Promise<void> {
    this.#check(offset, length, 'NO_SPACE');
    const job = new ZeroJob(this.#store, offset, length);
    if (this.#intake.isOpen && job.step()) {
      this.#uploader.noteWritten();
      return fua ? this.#durable() : undefined;
    }
    return this.#later(job, fua);
  }

  trim(offset: number, length: number, options: { readonly fua: boolean }): void | Promise<void> {
    return this.zero(offset, length, options);
  }

  flush(): void | Promise<void> {
    this.#check(0, 0, 'INVALID');
    if (this.#intake.length === 0) return this.#flush();
    // Those that wait were asked for before it.
    return this.#intake.enqueue({ offset: 0, end: 0, bytes: 0, step: () => true }).then(() => this.#flush());
  }

  /** See BlockDevice. With `countMax`, no more than EXTENTS_BYTES_MAX are looked through. */
  async extents(offset: number, length: number, countMax = Number.POSITIVE_INFINITY): Promise<StateExtent[]> {
    this.#check(offset, length, 'INVALID');
    const end = offset + (countMax === Number.POSITIVE_INFINITY ? length : Math.min(length, EXTENTS_BYTES_MAX));
    return this.#options.whenOurs(this.#extents(offset, end, countMax));
  }

  async #extents(offset: number, end: number, countMax: number): Promise<StateExtent[]> {
    if (this.#intake.overlaps(offset, end)) await this.#intake.enqueue({ offset, end, bytes: 0, step: () => true });
    // As they are now: what is uploaded while the layout answers is in neither answer otherwise.
    const dirty = dirtySpans(this.#store, offset, end);
    const runs = new RunList();
    for (let at = offset; at < end && runs.list.length <= countMax; ) {
      at = overlayExtents(runs, await this.#layout.extents(at, end - at, countMax), dirty, this.#clean, at);
    }
    return runs.list.slice(0, countMax);
  }

  /** Brings as much of the range into the cache as that can hold; resolves once that has been tried, or `signal` aborts. */
  async prefetch(offset: number, length: number, signal?: AbortSignal): Promise<void> {
    this.#check(offset, length, 'INVALID');
    await this.#track(this.#reader.prefetch(offset, Math.min(length, this.#options.cacheSizeBytes), signal));
  }

  /** Uploads everything written so far. Rejects with CANCELLED when `signal` aborts, FENCED where the volume is lost. */
  async uploadAll(signal: AbortSignal): Promise<void> {
    await waitOrGiveUp(this.#intake.idle(), signal, 'the upload');
    await this.#uploader.request(signal);
  }

  /**
   * Writes whole pages once more as they are, so that they are uploaded again whatever the bucket has for them. All of it is done in
   * one turn, so that no write comes between. `absent`: not all of it is here, and nothing was done. `busy`: not now.
   */
  rewrite(offset: number, length: number): 'rewritten' | 'absent' | 'busy' {
    this.#check(offset, length, 'INVALID');
    if (!this.#intake.isOpen) return 'busy';
    const bytes = this.check.here(offset, length);
    if (bytes === null) return 'absent';
    this.#uploader.noteBarrier();
    // Where there is no room for all of it, what was appended is as it was.
    const done = this.#writeFrom(offset, bytes, 0);
    this.#uploader.noteWritten();
    return done === length ? 'rewritten' : 'busy';
  }

  /** For a volume that has shrunk: nothing is remembered beyond its end. */
  async forgetBeyondEnd(): Promise<void> {
    const endPage = this.#layout.sizeBytes / PAGE_BYTES;
    this.#store.truncate(endPage);
    this.#cache.invalidate(endPage, Number.MAX_SAFE_INTEGER);
    this.#fetcher.supersede(endPage, Number.MAX_SAFE_INTEGER);
    await this.#uploader.checkpoint();
  }

  /** For a volume about to grow: what was fetched or written beyond its end while it shrank must not be in what is added. */
  async beforeGrowth(signal: AbortSignal): Promise<void> {
    // While the volume ends here, such writes in the log go nowhere.
    if (this.#writeLog.records.reachBeyond(this.#layout.sizeBytes)) await this.uploadAll(signal);
    await this.forgetBeyondEnd();
  }

  /**
   * Uploads what is left until `giveUp` aborts, and closes the cache. True where everything is in the bucket, and the log
   * knows it; false where something is left for the next opening to upload, durable, or pages are lost of which only this cache
   * knows. Rejects, with everything closed, where something is left that the disk did not take.
   */
  async close(giveUp: AbortSignal): Promise<boolean> {
    this.#closed = true;
    const uploaded = await this.#drain(giveUp);
    this.#reader.stop();
    this.#intake.stop();
    await this.#uploader.stop();
    if (uploaded) await raceAbort(Promise.allSettled([...this.#reading, this.#fetcher.idle()]), giveUp);
    const settled = uploaded && (await this.#inOrder('cache', () => this.#uploader.checkpoint()));
    await this.#inOrder('cache', () => this.#cache.close());
    if (uploaded) {
      const closed = await this.#inOrder('write log', () => this.#writeLog.close());
      const { count: pages } = this.#store.damaged;
      if (pages > 0)
        this.#options.log.warn('pages that the cache disk has lost have not been written again', { pages });
      return closed && settled && pages === 0;
    }
    await this.#writeLog.close();
    return false;
  }

  async #inOrder(what: string, step: () => Promise<void>): Promise<boolean> {
    try {
      await step();
      return true;
    } catch (error) {
      this.#options.log.error(`the ${what} could not be closed in order`, { error: describeError(error) });
      return false;
    }
  }

  async #drain(giveUp: AbortSignal): Promise<boolean> {
    if (this.#options.lost() !== null) return false;
    try {
      return await raceAbort(this.uploadAll(giveUp), giveUp);
    } catch (error) {
      this.#options.log.debug('not everything was uploaded', { error: describeError(error) });
      return false;
    }
  }

  /** Behind the writes that wait, and before those that come after it. */
  async #readInTurn(offset: number, length: number): Promise<Buffer> {
    let bytes: Buffer | Promise<Buffer> | undefined;
    const step = (): boolean => {
      bytes = this.#reader.read(offset, length);
      return true;
    };
    await this.#intake.enqueue({ offset, end: offset + length, bytes: 0, step });
    return bytes as Buffer | Promise<Buffer>;
  }

  /** Appends what there is room for of the data from `from` on; returns how far it came. */
  #writeFrom(offset: number, data: Buffer, from: number): number {
    const store = this.#store;
    const end = offset + data.length;
    if (store.map.partialCount > PARTIAL_PAGES_MAX) return from;
    for (let at = from; at < data.length; ) {
      const pieceEnd = store.pieceEnd(offset + at, end) - offset;
      if (!store.hasRoomFor(offset + at, pieceEnd - at)) return at;
      store.write(offset + at, at === 0 && pieceEnd === data.length ? data : data.subarray(at, pieceEnd));
      at = pieceEnd;
    }
    return data.length;
  }

  #writeLater(offset: number, data: Buffer, from: number, fua: boolean): Promise<void> {
    let at = from;
    const step = (): boolean => {
      at = this.#writeFrom(offset, data, at);
      return at === data.length;
    };
    return this.#later({ offset, end: offset + data.length, bytes: data.length, step }, fua);
  }

  async #later(job: IntakeJob, fua: boolean): Promise<void> {
    const done = this.#intake.enqueue(job);
    this.#uploader.noteWritten();
    await done;
    this.#checkOurs();
    this.#uploader.noteWritten();
    if (fua) await this.#durable();
  }

  #flush(): void | Promise<void> {
    this.#checkOurs();
    this.#uploader.noteBarrier();
    return this.#durable();
  }

  /** Everything appended so far is as durable as the volume's mode promises. */
  #durable(): Promise<void> | undefined {
    return this.#options.durability === 's3' ? this.#uploader.request() : this.#writeLog.sync();
  }

  /** Waits for room in the log: for the uploader, or the disk. */
  async #room(signal: AbortSignal): Promise<void> {
    const full = this.#store.map.partialCount > PARTIAL_PAGES_MAX || this.#writeLog.isFull;
    if (!full) {
      // Where what there is cannot be made durable, the write fails and not the one after it.
      await this.#writeLog.unblocked();
      return;
    }
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#roomWaiters.push(resolve);
    // Never rejects unless the volume is lost, and then the write does too.
    const uploaded = this.#uploader.request();
    if (!(await raceAbort(Promise.race([promise, uploaded ?? promise]), signal))) return;
    this.#checkOurs();
  }

  #wakeRoomWaiters(): void {
    for (const wake of this.#roomWaiters.splice(0)) wake();
  }

  #track<T>(request: Promise<T>): Promise<T> {
    const settled = (): void => void this.#reading.delete(request);
    this.#reading.add(request);
    request.then(settled, settled);
    return request;
  }

  #check(offset: number, length: number, code: 'INVALID' | 'NO_SPACE'): void {
    if (this.#closed) throw new StorageError('CANCELLED', 'the volume is closed');
    this.#checkOurs();
    this.#requests++;
    const { sizeBytes } = this.#layout;
    if (offset + length <= sizeBytes) return;
    throw new StorageError(code, `${length} bytes from ${offset} are past the end of the volume, ${sizeBytes} bytes`);
  }

  #checkOurs(): void {
    const lost = this.#options.lost();
    if (lost !== null) throw lost;
  }

  /** Until it is known which of them are still right, no cached page is used. */
  #suspectClean(unchanged: CachedVolumeOptions['unchanged']): void {
    this.#clean.suspended = true;
    const { log } = this.#options;
    const known = Promise.resolve(unchanged).catch((error: unknown) => {
      // Given up by closing: the pages are there at the next start, and looked at again.
      if (!this.#closed) {
        log.warn('cannot tell whether the cached pages are still those of the bucket: they are forgotten', {
          error: describeError(error),
        });
      }
      return null;
    });
    // Whoever closes the volume does not wait for a listing of the bucket, but for what comes after it.
    void known.then((isUnchanged) => (this.#closed ? undefined : this.#track(this.#retainUnchanged(isUnchanged))));
  }

  /** Never rejects. */
  async #retainUnchanged(isUnchanged: Awaited<CachedVolumeOptions['unchanged']>): Promise<void> {
    try {
      this.#cache.retain((first, end) => isUnchanged?.(first * PAGE_BYTES, (end - first) * PAGE_BYTES) ?? false);
      await this.#cache.checkpoint();
      await this.#options.onTrusted();
      this.#clean.suspended = false;
    } catch (error) {
      this.#options.log.warn('the cached pages cannot be used until the next start', { error: describeError(error) });
    }
  }

  #tellReplay(): void {
    const { records } = this.#writeLog;
    const { log } = this.#options;
    const { damaged, map } = this.#store;
    if (damaged.count > 0) {
      const message =
        'the cache disk has damaged pages that were not in the bucket: reading them fails until they are written again';
      log.error(message, { pages: damaged.count, event: 'damage-found' });
    }
    if (records.end > records.first)
      log.info('taking up writes that are not in the bucket yet', { dirtyBytes: map.bytes });
  }
}

interface CachedVolumeParts {
  readonly writeLog: WriteLog;
  readonly damaged: DamagedPages;
  readonly cache: ReadCache;
}
