/** The growing end of the log: records gathered in memory, handed to the disk in groups, made durable by shared syncs. */
import { describeError, StorageError } from '../../lib/errors.ts';
import type { Log } from '../../lib/log.ts';
import { alignUp, GROUP_ALIGN_BYTES, type LogFiles } from './log-files.ts';
import { Slab } from './slab.ts';
import { processSlabs, SLAB_BYTES, type SlabMemory } from './slab-pool.ts';

const RECORD_ALIGN_BYTES = 8;
/** Groups up to this size are written at once: that takes less time than handing them to another thread. */
const SYNC_WRITE_BYTES_MAX = 128 * 1024;
/** So much that is not durable is synced without anybody having asked. */
const BACKGROUND_SYNC_BYTES = 16 * 1024 * 1024;
/** With so much, nothing is appended until a sync has succeeded. */
const UNSYNCED_BYTES_MAX = 64 * 1024 * 1024;

/** Where a record goes: `at` in the slab's buffer. */
export interface Place {
  readonly slab: Slab;
  readonly at: number;
  readonly position: number;
}

interface SyncWaiter {
  readonly resolve: () => void;
  readonly reject: (error: unknown) => void;
}

export interface LogAppenderOptions {
  readonly files: LogFiles;
  /** Where to go on; a multiple of GROUP_ALIGN_BYTES. */
  readonly position: number;
  readonly log: Log;
  /** Called when more may be appended than before. */
  readonly onRoom: () => void;
  /** Left out: those of the process. */
  readonly slabs?: SlabMemory | undefined;
}

/**
 * What has been appended and is not durable stays in memory. After a failed write or sync all of it is written again before
 * the next sync: a disk that has failed to sync may have dropped what it was given (fsyncgate), so that syncing alone
 * would prove nothing.
 */
export class LogAppender {
  readonly #files: LogFiles;
  readonly #log: Log;
  readonly #onRoom: () => void;
  readonly #memory: SlabMemory;
  readonly #slabBytes: number;
  /** In order; all but the last are full. */
  #slabs: Slab[] = [];
  #position: number;
  #durablePosition: number;
  #waiters: SyncWaiter[] = [];
  #syncing = false;
  #failure: StorageError | null = null;

  constructor(options: LogAppenderOptions) {
    this.#files = options.files;
    this.#log = options.log;
    this.#onRoom = options.onRoom;
    this.#memory = options.slabs ?? processSlabs;
    this.#position = options.position;
    this.#durablePosition = options.position;
    this.#slabBytes = Math.min(SLAB_BYTES, options.files.fileBytes);
  }

  /** Where the log ends. */
  get position(): number {
    return this.#position;
  }

  /** Everything below it is durable. */
  get durablePosition(): number {
    return this.#durablePosition;
  }

  /** Why the last sync or write failed, or null. */
  get failure(): StorageError | null {
    return this.#failure;
  }

  /** Where a record of `bytes` would begin. */
  placeFor(bytes: number): number {
    const slab = this.#slabs.at(-1);
    if (slab !== undefined) {
      const at = alignUp(slab.usedBytes, RECORD_ALIGN_BYTES);
      if (at + bytes <= slab.limitBytes) return slab.position + at;
    }
    const next = alignUp(this.#position, GROUP_ALIGN_BYTES);
    return next + bytes <= this.#files.fileEnd(next) ? next : this.#files.fileEnd(next);
  }

  /** Whether another record of `bytes` may be held in memory. */
  accepts(bytes: number): boolean {
    return this.#position + bytes - this.#durablePosition <= UNSYNCED_BYTES_MAX;
  }

  /** Makes room for a record of `bytes`, which the caller fills in before it does anything else. */
  append(bytes: number): Place {
    const position = this.placeFor(bytes);
    let slab = this.#slabs.at(-1);
    if (slab === undefined || position < slab.position || position + bytes > slab.position + slab.limitBytes) {
      if (slab !== undefined) this.#submit(slab);
      const limitBytes = Math.min(this.#slabBytes, this.#files.fileEnd(position) - position);
      slab = new Slab(this.#memory.take(this.#slabBytes), position, limitBytes);
      this.#slabs.push(slab);
      if (this.#position - this.#durablePosition > BACKGROUND_SYNC_BYTES && !this.#syncing) this.#syncInBackground();
    }
    const at = position - slab.position;
    // What somebody else has left there is not for this log.
    for (let gap = slab.usedBytes; gap < at; gap++) slab.buffer[gap] = 0;
    slab.usedBytes = at + bytes;
    this.#position = position + bytes;
    return { slab, at, position };
  }

  /** The slab that has the position in memory, or undefined. */
  slabAt(position: number): Slab | undefined {
    for (let index = this.#slabs.length - 1; index >= 0; index--) {
      const slab = this.#slabs[index] as Slab;
      if (slab.position <= position) return slab.holds(position) ? slab : undefined;
    }
    return undefined;
  }

  /** Makes everything appended so far durable. Undefined where it is. Rejects where that failed; trying again is sound. */
  sync(): Promise<void> | undefined {
    if (this.#durablePosition >= this.#position) return undefined;
    return new Promise((resolve, reject) => {
      this.#waiters.push({ resolve, reject });
      if (!this.#syncing) void this.#runSyncs();
    });
  }

  /** Nothing is appended or read any more. */
  abandon(): void {
    for (const { buffer, writing } of this.#slabs) {
      const give = (): void => this.#memory.give(buffer);
      // A write under way still looks at its slab.
      if (writing === null) give();
      else void writing.then(give, give);
    }
    this.#slabs = [];
  }

  #syncInBackground(): void {
    // What fails here is met again, and told, by the next flush.
    this.sync()?.catch(() => {});
  }

  /** Never rejects: errors go to those who wait. One sync serves all who came before it began. */
  async #runSyncs(): Promise<void> {
    this.#syncing = true;
    await Promise.resolve();
    while (this.#waiters.length > 0) {
      const waiters = this.#waiters;
      this.#waiters = [];
      try {
        await this.#syncOnce();
        for (const { resolve } of waiters) resolve();
      } catch (error) {
        for (const { reject } of waiters) reject(error);
      }
    }
    this.#syncing = false;
  }

  async #syncOnce(): Promise<void> {
    const slabs = this.#slabs.filter((slab) => slab.end > this.#durablePosition);
    for (const slab of slabs) this.#submit(slab);
    const end = this.#position;
    try {
      for (const { writing } of slabs) await writing;
      await this.#files.datasync(this.#durablePosition, end);
    } catch (error) {
      await Promise.allSettled(slabs.map(({ writing }) => writing));
      throw this.#failed(error);
    }
    if (this.#failure !== null) this.#log.info('the write log can be synced again; nothing of it was lost');
    this.#failure = null;
    this.#durablePosition = end;
    this.#release();
    this.#onRoom();
  }

  /** Hands over what the disk has not been given, filled up to where the next group may begin. */
  #submit(slab: Slab): void {
    if (slab.submittedBytes === slab.usedBytes) return;
    const endBytes = Math.min(alignUp(slab.usedBytes, GROUP_ALIGN_BYTES), slab.limitBytes);
    slab.buffer.fill(0, slab.usedBytes, endBytes);
    if (slab === this.#slabs.at(-1)) this.#position = slab.position + endBytes;
    slab.usedBytes = endBytes;
    const bytes = slab.buffer.subarray(slab.submittedBytes, endBytes);
    const position = slab.position + slab.submittedBytes;
    slab.submittedBytes = endBytes;
    const before = slab.writing;
    if (before === null && bytes.length <= SYNC_WRITE_BYTES_MAX) {
      try {
        this.#files.writeSync(bytes, position);
        return;
      } catch (error) {
        slab.writing = Promise.reject(error);
      }
    } else {
      const writing = this.#files.write(bytes, position);
      slab.writing = before === null ? writing : bothEnded(before, writing);
    }
  }

  /** Everything that is not durable has to be written again. */
  #failed(cause: unknown): StorageError {
    for (const slab of this.#slabs) {
      slab.submittedBytes = Math.max(0, Math.min(slab.submittedBytes, this.#durablePosition - slab.position));
      slab.writing = slab.writing?.catch(() => {}) ?? null;
    }
    const code = cause instanceof StorageError ? cause.code : 'UNAVAILABLE';
    const first = this.#failure === null;
    const message = 'the write log could not be made durable: the cache disk has failed';
    this.#failure = new StorageError(code, message, { cause, retryable: false });
    if (first) this.#log.error(message, { error: describeError(cause), event: 'cache-disk-failed' });
    return this.#failure;
  }

  /** What is durable need not be kept. */
  #release(): void {
    this.#slabs = this.#slabs.filter((slab) => {
      if (slab.end > this.#durablePosition) return true;
      this.#memory.give(slab.buffer);
      return false;
    });
  }
}

/** Settles only when neither of two writes looks at their slab any more; rejects where one did. */
async function bothEnded(one: Promise<void>, other: Promise<void>): Promise<void> {
  const [first, second] = await Promise.allSettled([one, other]);
  if (first.status === 'rejected') throw first.reason;
  if (second.status === 'rejected') throw second.reason;
}
