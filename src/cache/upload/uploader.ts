/** Brings what has been written to the bucket, batch after batch, in the order it was written; in the background. */
import type { Layout } from '../../layout/layout.ts';
import type { Clock } from '../../lib/clock.ts';
import { describeError, isStorageError, StorageError } from '../../lib/errors.ts';
import type { Log } from '../../lib/log.ts';
import { settleAll } from '../../lib/settle.ts';
import type { DirtyStore } from '../dirty/dirty-store.ts';
import { PAGE_BYTES, pageAfter, pageOf } from '../page.ts';
import type { Fetcher } from '../read/fetcher.ts';
import { Barriers } from './barriers.ts';
import { BatchMemory } from './batch-memory.ts';
import type { SentBlocks } from './sent-blocks.ts';
import { buildBatch, type CleanPages, extentEnd, type UploadBatch } from './upload-batch.ts';

/** Log bytes of one batch, where barriers allow. Two are in memory at once: one that is sent, and the one before it or behind it. */
const BATCH_BYTES = 32 * 1024 * 1024;
const RETRY_PAUSE_MIN_MS = 500;
const RETRY_PAUSE_MAX_MS = 30_000;
/** So long the disk may fail to read a write before that counts as lost, and the others go on without it. */
const UNREADABLE_PATIENCE_MS = 300_000;
/** So often it is looked whether what is held back may go. */
const HELD_BACK_LOOK_MS = 30_000;
/** Uploading begins when the log is as full as this, whatever else is set. */
const LOG_SHARE_MAX = 0.5;

/** Where pages go that are in the bucket now. */
export interface CleanSink extends CleanPages {
  insert(firstPage: number, data: Buffer, kind: 'written'): Promise<void>;
  invalidate(firstPage: number, endPage: number): void;
  /** What has been inserted and invalidated holds after a crash too. */
  checkpoint(): Promise<void>;
}

export interface UploadTriggers {
  /** The oldest write is uploaded after this time at the latest. */
  readonly ageMs: number;
  /** More than this is not left dirty. */
  readonly dirtyBytesMax: number;
  /** While it is true neither age nor amount counts: only what somebody waits for is uploaded, and what a full log asks for. */
  readonly holdsBack?: () => boolean;
}

export interface UploaderOptions {
  readonly store: DirtyStore;
  readonly layout: Layout;
  readonly clean: CleanSink;
  readonly fetcher: Fetcher;
  readonly sent: SentBlocks;
  readonly triggers: UploadTriggers;
  /** As of CachedVolumeOptions. */
  readonly whenOurs: <T>(work: Promise<T>) => Promise<T>;
  readonly clock: Clock;
  readonly log: Log;
}

export interface UploadStatus {
  readonly uploading: boolean;
  readonly batches: number;
  readonly uploadedBytes: number;
  /** Why nothing can be uploaded at present, or null. */
  readonly error: { readonly code: string; readonly message: string; readonly sinceMs: number } | null;
}

interface Waiter {
  readonly end: number;
  readonly resolve: () => void;
  readonly reject: (error: unknown) => void;
}

export class Uploader {
  readonly #options: UploaderOptions;
  readonly #barriers = new Barriers();
  readonly #memory: BatchMemory;
  readonly #stop = new AbortController();
  #waiters: Waiter[] = [];
  /** Records up to this are wanted in the bucket whatever the triggers say. */
  #requested = 0;
  #wake: (() => void) | null = null;
  /** It sleeps because there is nothing at all to upload. */
  #idle = false;
  #working = false;
  #batches = 0;
  #uploadedBytes = 0;
  #failure: { readonly error: unknown; readonly sinceMs: number } | null = null;
  #fatal: unknown = null;
  /** The disk could not read the batch that was prepared last. */
  #unreadable = false;
  /** Since when that has been met again and again. */
  #unreadableSinceMs: number | null = null;
  /** The last one begun. Never rejects. */
  #checkpointing: Promise<void> = Promise.resolve();
  #checkpointWanted = false;
  #checkpointsRun = false;
  /** The batch that is read, to be sent next. */
  #next: Promise<UploadBatch> | null = null;
  /** The batch that was sent last, on its way to the clean pages. */
  #settling: Promise<void> = Promise.resolve();
  /** Waiting for the bucket, and using nothing of the disk but for the next batch. */
  #sending = false;
  #running: Promise<void> = Promise.resolve();

  constructor(options: UploaderOptions) {
    this.#options = options;
    this.#memory = new BatchMemory(options.layout.blockSizeBytes);
  }

  start(): void {
    this.#running = this.#run();
  }

  get status(): UploadStatus {
    const { clock } = this.#options;
    const failure = this.#failure;
    return {
      uploading: this.#working,
      batches: this.#batches,
      uploadedBytes: this.#uploadedBytes,
      error:
        failure === null
          ? null
          : {
              code: isStorageError(failure.error) ? failure.error.code : 'UNAVAILABLE',
              message: describeError(failure.error),
              sinceMs: Math.round(clock.now() - failure.sinceMs),
            },
    };
  }

  /** A flush covers everything so far. */
  noteBarrier(): void {
    this.#barriers.add(this.#options.store.log.records.end);
  }

  /** To be called when something has been written: cheap where there is nothing to do. */
  noteWritten(): void {
    if (this.#wake !== null && (this.#idle || this.#isDue())) this.#wake();
  }

  /** Uploads everything so far; undefined where it has been. Rejects where it never will be, and when `signal` aborts. */
  request(signal?: AbortSignal): Promise<void> | undefined {
    const { records } = this.#options.store.log;
    const { end } = records;
    if (records.first >= end) return undefined;
    if (this.#fatal !== null) return Promise.reject(this.#fatal);
    if (this.#stop.signal.aborted) return Promise.reject(closing());
    this.#barriers.add(end);
    this.#requested = Math.max(this.#requested, end);
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const waiter: Waiter = { end, resolve, reject };
    this.#waiters.push(waiter);
    if (signal !== undefined) this.#rejectOnAbort(waiter, promise, signal);
    this.#wake?.();
    return promise;
  }

  /** Ends the background work. What is being sent is not waited for; what uses the disk is, as that may be closed next. */
  async stop(): Promise<void> {
    this.#stop.abort();
    this.#wake?.();
    this.#fail(closing());
    if (!this.#sending) await this.#running;
    await Promise.allSettled([this.#next, this.#settling]);
    await this.#checkpointing;
  }

  /** Makes the log forget on disk too what has been uploaded. Rejects where that fails; nothing is lost by it. */
  checkpoint(): Promise<void> {
    const done = this.#checkpointing.then(() => this.#writeCheckpoint());
    this.#checkpointing = done.catch(() => {});
    return done;
  }

  async #writeCheckpoint(): Promise<void> {
    const { store, clean } = this.#options;
    // Not further than this: what is uploaded in the meantime is not in the steps that follow.
    const head = store.log.markHead();
    await store.damaged.save(() => store.log.sync());
    await clean.checkpoint();
    await store.log.commitHead(head);
  }

  async #run(): Promise<void> {
    let pauseMs = RETRY_PAUSE_MIN_MS;
    while (!this.#stop.signal.aborted) {
      try {
        if (this.#next === null && !this.#isDue()) {
          await this.#sleep();
          continue;
        }
        this.#working = true;
        this.#next ??= this.#prepare(this.#options.store.log.records.first);
        const batch = await this.#next;
        this.#next = null;
        this.#unreadableSinceMs = null;
        if (this.#stop.signal.aborted) break;
        await this.#sendAndPrepare(batch);
        this.#recovered();
        pauseMs = RETRY_PAUSE_MIN_MS;
        if (this.#stop.signal.aborted) break;
        this.#settling = this.#settle(batch);
        if (this.#next === null) await this.#settling;
      } catch (error) {
        // All of it is read once more: what has been written since may be what mends it, as where a block is lost, and need not be sent twice.
        await this.#abandon();
        if (this.#fatal !== null) break;
        // From the moment that it is tried again: one that failed early in a long sending has not failed for as long.
        if (this.#unreadable) this.#unreadableSinceMs ??= this.#options.clock.now();
        await this.#pauseAfter(error, pauseMs);
        pauseMs = Math.min(pauseMs * 2, RETRY_PAUSE_MAX_MS);
      } finally {
        this.#working = false;
      }
    }
    await this.#abandon();
  }

  /** Nothing is being sent: what has been read for it is forgotten. */
  async #abandon(): Promise<void> {
    await Promise.allSettled([this.#next, this.#settling]);
    this.#next = null;
    this.#options.sent.clear();
    this.#memory.giveBackAll();
  }

  #isDue(): boolean {
    return this.#wanted() > this.#options.store.log.records.first;
  }

  /** Up to which record something has to be uploaded now. */
  #wanted(): number {
    const { store, triggers, clock } = this.#options;
    const { log, map } = store;
    const { first, end } = log.records;
    if (first === end) return first;
    const isRipe =
      map.bytes >= triggers.dirtyBytesMax || clock.now() - log.records.appendedAtMs(first) >= triggers.ageMs;
    const due = log.usedBytes > log.sizeBytes * LOG_SHARE_MAX || (isRipe && triggers.holdsBack?.() !== true);
    return due ? end : Math.max(first, Math.min(this.#requested, end));
  }

  /** Waits until something may be due. */
  async #sleep(): Promise<void> {
    const { store, triggers, clock } = this.#options;
    const { records } = store.log;
    const woken = new AbortController();
    this.#wake = () => woken.abort();
    try {
      if (this.#stop.signal.aborted) return;
      this.#idle = records.first === records.end;
      if (this.#idle) {
        await new Promise((resolve) => woken.signal.addEventListener('abort', resolve, { once: true }));
        return;
      }
      const ageMs = clock.now() - records.appendedAtMs(records.first);
      // It may have become due since that was asked. Nobody tells when what is held back may go: that is looked at now and then.
      const leftMs = triggers.ageMs - ageMs;
      const { holdsBack } = triggers;
      const waitMs =
        holdsBack === undefined ? leftMs : holdsBack() ? HELD_BACK_LOOK_MS : Math.min(leftMs, HELD_BACK_LOOK_MS);
      await clock.sleep(Math.max(1, waitMs), woken.signal).catch(() => {});
    } finally {
      this.#wake = null;
    }
  }

  /** Reads the next batch, from record `first` on, once all of it is durable: the bucket never has what a crash may take back. */
  async #prepare(first: number): Promise<UploadBatch> {
    const { store, clean, layout, clock } = this.#options;
    const end = this.#cut(first);
    if (!store.log.isDurable(end)) await store.log.sync();
    const unreadableMs = this.#unreadableSinceMs === null ? 0 : clock.now() - this.#unreadableSinceMs;
    const givesUp = unreadableMs > UNREADABLE_PATIENCE_MS;
    try {
      const { blockSizeBytes, sizeBytes } = layout;
      const batch = await buildBatch(
        { store, clean, blockSizeBytes, sizeBytes, givesUp, memory: this.#memory },
        first,
        end,
      );
      this.#unreadable = false;
      return batch;
    } catch (error) {
      this.#unreadable = true;
      throw error;
    }
  }

  /** The last barrier within the size of a batch; where there is none, as many records as fit. */
  #cut(first: number): number {
    const { records } = this.#options.store.log;
    const limit = records.position(first) + BATCH_BYTES;
    let low = first + 1;
    let high = records.end;
    while (low < high) {
      const middle = (low + high + 1) >>> 1;
      if (records.position(middle - 1) < limit) low = middle;
      else high = middle - 1;
    }
    return this.#barriers.lastWithin(first, low) ?? low;
  }

  /** Resolves once the batch is in the bucket; rejects once nothing of it is being sent. The one that follows is begun to be read meanwhile. */
  async #sendAndPrepare(batch: UploadBatch): Promise<void> {
    const { sent } = this.#options;
    sent.set(batch.blocks);
    await settleAll([this.#send(batch), this.#prepareAfter(batch)]);
    sent.clear();
  }

  /** Begins to read what follows, where that is wanted. Not before the batch before this one has given its memory back. */
  async #prepareAfter({ end }: UploadBatch): Promise<void> {
    await this.#settling;
    if (this.#wanted() <= end || this.#stop.signal.aborted) return;
    this.#next = this.#prepare(end);
    // It is awaited, but later: until then its failure is nobody's.
    this.#next.catch(() => {});
  }

  async #send({ extents }: UploadBatch): Promise<void> {
    const { layout, whenOurs } = this.#options;
    this.#sending = true;
    try {
      // What fails because of another writer's doing is no failure of the upload, and nothing to mend.
      await whenOurs(layout.commit({ extents }));
    } catch (error) {
      // Told here, as the disk, which is used meanwhile, may not answer.
      if (isStorageError(error, 'FENCED')) {
        this.#fatal = error;
        this.#fail(error);
      }
      throw error;
    } finally {
      this.#sending = false;
    }
  }

  /** The batch is in the bucket: its pages are clean from now on. */
  async #settle(batch: UploadBatch): Promise<void> {
    const { store, clean, fetcher } = this.#options;
    for (const extent of batch.extents) {
      const first = pageOf(extent.offset);
      const end = pageAfter(extentEnd(extent));
      fetcher.supersede(first, end);
      const whole = extent.offset % PAGE_BYTES === 0 && extentEnd(extent) % PAGE_BYTES === 0;
      if (extent.data === undefined || !whole) clean.invalidate(first, end);
    }
    await Promise.all(batch.fresh.map(({ firstPage, data }) => clean.insert(firstPage, data, 'written')));
    if (this.#stop.signal.aborted) return;
    store.map.forgetBefore(batch.end, batch.pages);
    store.log.dropBefore(batch.end);
    this.#barriers.dropUpTo(batch.end);
    // It is in the bucket by one put for each block, and every other attempt at one has ended before that.
    this.#memory.giveBack(batch.taken);
    this.#batches++;
    this.#uploadedBytes += batch.bytes;
    const ready = this.#waiters.filter((waiter) => waiter.end <= batch.end);
    this.#waiters = this.#waiters.filter((waiter) => waiter.end > batch.end);
    for (const { resolve } of ready) resolve();
    this.#checkpointSoon();
  }

  /** One at a time; what is uploaded meanwhile is in the next. */
  #checkpointSoon(): void {
    this.#checkpointWanted = true;
    if (!this.#checkpointsRun) void this.#runCheckpoints();
  }

  async #runCheckpoints(): Promise<void> {
    const { clock, log } = this.#options;
    this.#checkpointsRun = true;
    for (let pauseMs = RETRY_PAUSE_MIN_MS; this.#checkpointWanted && !this.#stop.signal.aborted; ) {
      this.#checkpointWanted = false;
      try {
        await this.checkpoint();
        pauseMs = RETRY_PAUSE_MIN_MS;
      } catch (error) {
        this.#checkpointWanted = true;
        log.error('the space of what was uploaded cannot be given back: the cache disk fails', {
          error: describeError(error),
        });
        await clock.sleep(pauseMs, this.#stop.signal).catch(() => {});
        pauseMs = Math.min(pauseMs * 2, RETRY_PAUSE_MAX_MS);
      }
    }
    // In the turn in which it was seen that no other is wanted: nobody must believe that one will be made.
    this.#checkpointsRun = false;
  }

  /** Loud once for each episode: what is refused will not mend by itself. */
  async #pauseAfter(error: unknown, pauseMs: number): Promise<void> {
    const { clock, log } = this.#options;
    if (this.#stop.signal.aborted) return;
    if (this.#failure === null) {
      const refused = isStorageError(error, 'ACCESS_DENIED', 'NOT_FOUND', 'CORRUPT');
      const fields = { error: describeError(error), event: 'upload-failing' };
      if (refused)
        log.error('nothing can be uploaded: what is written stays in the cache until this is mended', fields);
      else log.warn('cannot upload at present; what is written stays in the cache', fields);
    }
    this.#failure = { error, sinceMs: this.#failure?.sinceMs ?? clock.now() };
    await clock.sleep(pauseMs, this.#stop.signal).catch(() => {});
  }

  #recovered(): void {
    if (this.#failure === null) return;
    this.#options.log.info('uploading goes on', { event: 'upload-recovered' });
    this.#failure = null;
  }

  #fail(error: unknown): void {
    for (const { reject } of this.#waiters.splice(0)) reject(error);
  }

  #rejectOnAbort(waiter: Waiter, promise: Promise<void>, signal: AbortSignal): void {
    const onAbort = (): void => {
      this.#waiters = this.#waiters.filter((one) => one !== waiter);
      waiter.reject(new StorageError('CANCELLED', 'gave up waiting for the upload', { cause: signal.reason }));
    };
    if (signal.aborted) {
      onAbort();
      return;
    }
    signal.addEventListener('abort', onAbort, { once: true });
    const release = (): void => signal.removeEventListener('abort', onAbort);
    promise.then(release, release);
  }
}

function closing(): StorageError {
  return new StorageError('CANCELLED', 'the volume is being closed');
}
