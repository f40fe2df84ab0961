/**
 * Keeps the index on disk true. It says after a crash which page is in which slot, and must never say it of bytes that are
 * older than what a checkpoint has covered:
 *
 * - A checkpoint appends the slots that have changed to the journal and syncs it, then a seal, and syncs again: by a seal that is not
 *   durable nobody could tell a batch that has rotted from one that a crash has cut off.
 * - A snapshot of all slots is written beside the old one. Slots that change meanwhile are written once more at its end.
 *   Only when it is durable under its name does the journal begin anew, in the epoch of that snapshot; what it still holds
 *   of another epoch is not taken for its continuation.
 * - A journal that could not be written or synced is never appended to again, nor is one that another process began: a
 *   snapshot takes its place. Where none can be written, the index is removed, which is as true: the cache is empty then.
 *   Only where that fails too does the checkpoint.
 *
 * The data is not synced: bytes that did not get to the disk do not match their checksum.
 */
import { randomInt } from 'node:crypto';
import type { Clock } from '../../lib/clock.ts';
import type { Disk, DiskFile } from '../../lib/disk.ts';
import { describeError, StorageError } from '../../lib/errors.ts';
import type { Log } from '../../lib/log.ts';
import { Semaphore } from '../../lib/semaphore.ts';
import { BatchWriter } from './batch-file.ts';
import type { EvictionQueues } from './eviction-queues.ts';
import { type ChainPoint, END, ENTRY_BYTES_MAX, HEAD } from './index-batch.ts';
import { headWords } from './load-index.ts';
import type { ChangedSlots } from './slot-changes.ts';
import type { SlotTable } from './slot-table.ts';

/** A journal of less, in a cache large enough, is not worth a new snapshot. */
const JOURNAL_BYTES_MIN = 1024 * 1024;
const JOURNAL_SHARE = 0.25;
/** Where no snapshot can be written, the journal does not grow for ever. */
const JOURNAL_SHARE_MAX = 4;
const RETRY_MS = 30_000;
/** A snapshot that was begun earlier may fail for what has passed. */
const ROUNDS_MAX = 2;

export interface IndexPaths {
  readonly directory: string;
  readonly snapshot: string;
  readonly newSnapshot: string;
}

export interface IndexStoreOptions {
  readonly disk: Disk;
  readonly paths: IndexPaths;
  readonly journal: DiskFile;
  readonly identity: string;
  readonly table: SlotTable;
  readonly queues: EvictionQueues;
  readonly changes: ChangedSlots;
  readonly clock: Clock;
  readonly log: Log;
}

/**
 * `kept`: snapshot and journal are whole, and the journal can be appended to. `absent`: there is surely no index on the disk.
 * `broken`: what is there was true at the last checkpoint, and cannot be continued.
 */
type IndexState = 'kept' | 'absent' | 'broken';

export class IndexStore {
  readonly #options: IndexStoreOptions;
  /** Held while the journal, or the end of a snapshot, is written. */
  readonly #exclusive = new Semaphore(1);
  #state: IndexState = 'broken';
  #epoch = 0;
  #journal: BatchWriter | null = null;
  #snapshotBytes = 0;
  #snapshot: Promise<void> | null = null;
  #isStopped = false;
  #failure: unknown = null;
  #retryAtMs = 0;
  #running: Promise<void> | null = null;
  #next: Promise<void> | null = null;

  constructor(options: IndexStoreOptions) {
    this.#options = options;
  }

  get state(): IndexState {
    return this.#state;
  }

  /** Why the index could not be written the last time, or null. */
  get failure(): unknown {
    return this.#failure;
  }

  /** There is a snapshot that this process may continue. */
  continueFrom(point: ChainPoint, snapshotBytes: number): void {
    this.#state = 'kept';
    this.#epoch = point.epoch;
    this.#journal = new BatchWriter(this.#options.journal, point);
    this.#snapshotBytes = snapshotBytes;
  }

  /** What there is, if anything, must not be continued: a snapshot of a later epoch takes its place. */
  replace(epoch: number): void {
    this.#epoch = epoch;
    this.snapshotSoon();
  }

  /** See ReadCache. */
  checkpoint(): Promise<void> {
    if (this.#next !== null) return this.#next;
    if (this.#running !== null) {
      const begin = (): Promise<void> => {
        this.#next = null;
        return this.#begin();
      };
      this.#next = this.#running.then(begin, begin);
      return this.#next;
    }
    const { journal } = this.#options.changes;
    const isIdle = this.#state === 'kept' && journal.count === 0 && this.#exclusive.held === 0;
    return isIdle ? Promise.resolve() : this.#begin();
  }

  /** A checkpoint that nobody waits for, unless one is under way or the last one has just failed. */
  checkpointSoon(): void {
    if (this.#running !== null || this.#isBackingOff) return;
    this.checkpoint().catch(() => {});
  }

  /** Writes a new snapshot in the background. */
  snapshotSoon(): void {
    if (!this.#isBackingOff && !this.#isStopped) void this.#beginSnapshot();
  }

  /** A checkpoint after which the journal is empty. Nothing may change any more. */
  async close(): Promise<void> {
    await this.#snapshot;
    await this.checkpoint();
    this.#isStopped = true;
    const isWritten = this.#state === 'kept' && this.#journal !== null && this.#journal.sizeBytes === 0;
    if (!isWritten) await this.#beginSnapshot();
    await this.checkpoint();
  }

  get #isBackingOff(): boolean {
    return this.#options.clock.now() < this.#retryAtMs;
  }

  #begin(): Promise<void> {
    const running = this.#checkpoint().finally(() => {
      if (this.#running === running) this.#running = null;
    });
    this.#running = running;
    return running;
  }

  async #checkpoint(): Promise<void> {
    for (let round = 0; round < ROUNDS_MAX; round++) {
      if (await this.#exclusive.run(() => this.#append())) return;
      await this.#beginSnapshot();
    }
    if (await this.#exclusive.run(() => this.#append())) return;
    await this.#giveUp();
  }

  /** Brings the journal up to date. False where that cannot be. */
  async #append(): Promise<boolean> {
    const { journal, changes, table, queues } = this.#options;
    if (this.#state === 'absent') {
      this.snapshotSoon();
      return true;
    }
    const writer = this.#journal;
    if (this.#state === 'broken' || writer === null) return false;
    if (changes.journal.count === 0) return true;
    try {
      await writer.writeMarked(changes.journal, table, queues);
      await journal.datasync();
      await writer.writeSeal();
      await journal.datasync();
    } catch (error) {
      this.#break(error);
      return false;
    }
    this.#watchJournal(writer.sizeBytes);
    return true;
  }

  #watchJournal(sizeBytes: number): void {
    const leastBytes = Math.min(JOURNAL_BYTES_MIN, this.#options.table.slots * ENTRY_BYTES_MAX);
    if (sizeBytes > Math.max(leastBytes, this.#snapshotBytes * JOURNAL_SHARE)) this.snapshotSoon();
    if (sizeBytes > Math.max(leastBytes, this.#snapshotBytes) * JOURNAL_SHARE_MAX) this.#state = 'broken';
  }

  async #giveUp(): Promise<void> {
    const { log } = this.#options;
    const cause = this.#failure;
    try {
      await this.#exclusive.run(async () => {
        if (this.#state === 'broken') await this.#remove();
      });
      log.warn('the index of the read cache cannot be written: what is cached will not outlive a restart', {
        error: describeError(cause),
      });
    } catch (error) {
      const { directory } = this.#options.paths;
      this.#note(error);
      throw new StorageError('UNAVAILABLE', `cannot write the index of the read cache in ${directory}, nor remove it`, {
        cause: error,
        retryable: false,
      });
    }
  }

  async #remove(): Promise<void> {
    const { disk, paths } = this.#options;
    this.#state = 'broken';
    disk.remove(paths.snapshot);
    disk.remove(paths.newSnapshot);
    await disk.syncDirectory(paths.directory);
    this.#state = 'absent';
  }

  #beginSnapshot(): Promise<void> {
    this.#snapshot ??= this.#writeSnapshot().finally(() => {
      this.#snapshot = null;
    });
    return this.#snapshot;
  }

  /** Never rejects: the state tells. */
  async #writeSnapshot(): Promise<void> {
    const { disk, paths, changes, table, queues, identity } = this.#options;
    let file: DiskFile | null = null;
    try {
      // Not the file of an attempt that has failed: what is left of it is not known.
      disk.remove(paths.newSnapshot);
      file = disk.open(paths.newSnapshot);
      file.truncate(0);
      this.#epoch++;
      const writer = new BatchWriter(file, { epoch: this.#epoch, number: 0, checksum: 0 });
      changes.snapshot.clear();
      changes.isSnapshotUnderWay = true;
      await writer.write(HEAD, headWords(identity, table.slots, randomInt(2 ** 32)));
      await writer.writeAll(table, queues);
      await file.datasync();
      const whole = file;
      await this.#exclusive.run(() => this.#finishSnapshot(whole, writer));
    } catch (error) {
      this.#note(error);
    } finally {
      changes.isSnapshotUnderWay = false;
      file?.close();
    }
  }

  async #finishSnapshot(file: DiskFile, writer: BatchWriter): Promise<void> {
    const { disk, paths, changes, table, queues, journal } = this.#options;
    // From here on until it succeeds the journal lacks what is written here instead.
    if (this.#state === 'kept') this.#state = 'broken';
    changes.journal.clear();
    await writer.writeMarked(changes.snapshot, table, queues);
    await writer.write(END, []);
    await file.datasync();
    this.#state = 'broken';
    disk.rename(paths.newSnapshot, paths.snapshot);
    await disk.syncDirectory(paths.directory);
    this.#snapshotBytes = writer.sizeBytes;
    journal.truncate(0);
    this.#journal = new BatchWriter(journal, writer.point);
    this.#state = 'kept';
    this.#recovered();
  }

  #break(error: unknown): void {
    this.#state = 'broken';
    this.#note(error);
  }

  /** Loud once for each episode. */
  #note(error: unknown): void {
    const { clock, log } = this.#options;
    this.#retryAtMs = clock.now() + RETRY_MS;
    if (this.#failure === null) {
      log.warn('the index of the read cache could not be written', { error: describeError(error) });
    }
    this.#failure = error;
  }

  #recovered(): void {
    this.#retryAtMs = 0;
    if (this.#failure === null) return;
    this.#failure = null;
    this.#options.log.info('the index of the read cache is written again');
  }
}
