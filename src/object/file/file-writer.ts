/** The writing half of the file store: whole or not at all, durable when it resolves, honest between processes. */
import { randomBytes } from 'node:crypto';
import { existsSync, renameSync } from 'node:fs';
import { mkdir, open, rm, unlink } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay, setImmediate as nextTurn } from 'node:timers/promises';
import { isStorageError, StorageError } from '../../lib/errors.ts';
import { ProcessLock } from '../../lib/process-lock.ts';
import { checkMayStart, checkNotAborted } from '../checks.ts';
import type { PutOptions, PutResult, RequestOptions } from '../object-store.ts';
import type { BucketDirectory } from './bucket-directory.ts';
import { DirectorySync } from './directory-sync.ts';
import { errnoOf } from './fs-errors.ts';
import { type KeyPath, keyToPath } from './key-path.ts';
import { encodeHeader } from './object-file.ts';
import { readEtagSync } from './read-object.ts';
import { TempArea } from './temp-area.ts';

/** How long a write waits for other processes to let it in. */
const LOCK_WAIT_MS = 10_000;
/** Files moved in one turn of the lock: a few milliseconds. */
const DELETE_KEYS_PER_TURN = 100;
/** Directories remembered as durable; beyond that they are found out again. */
const DURABLE_DIRECTORIES_MAX = 10_000;

/** Rejects with StorageError or the system's errors, which the store maps. */
export class FileWriter {
  readonly #bucket: BucketDirectory;
  readonly #lock: ProcessLock;
  readonly #temp: TempArea;
  readonly #directorySync = new DirectorySync();
  /** Directories whose own entries this process has synced, up to the root. */
  readonly #durable = new Set<string>();

  private constructor(bucket: BucketDirectory, lock: ProcessLock, temp: TempArea) {
    this.#bucket = bucket;
    this.#lock = lock;
    this.#temp = temp;
  }

  static async open(bucket: BucketDirectory): Promise<FileWriter> {
    const lock = new ProcessLock(join(bucket.privateDirectory, 'lock'));
    try {
      const temp = await runLocked(lock, () => new TempArea(join(bucket.privateDirectory, 'tmp')));
      return new FileWriter(bucket, lock, temp);
    } catch (error) {
      lock.close();
      throw error;
    }
  }

  async put(key: string, body: Buffer, options: PutOptions): Promise<PutResult> {
    const path = keyToPath(key);
    const etag = randomBytes(16).toString('hex');
    const temp = this.#temp.newPath();
    try {
      await this.#writeTemp(temp, encodeHeader(etag, body, options.headers), body);
      const directory = await this.#ensureDirectory(path);
      const target = join(directory, path.file);
      await this.#runLocked(() => {
        checkMayStart(options);
        checkCondition(target, key, options);
        renameSync(temp, target);
      }, options.signal);
      await this.#directorySync.sync(directory);
    } catch (error) {
      // A directory that was made durable is gone: somebody else removed it, and the next attempt makes it again.
      if (errnoOf(error) === 'ENOENT') this.#durable.clear();
      await rm(temp, { force: true }).catch(() => {}); // The error itself says more than a file left to be cleared.
      throw error;
    }
    return { etag };
  }

  /**
   * Under the lock the files are only moved out of the bucket: taking a large file apart can block for a millisecond,
   * and is done afterwards on the thread pool.
   */
  async delete(keys: readonly string[], options: RequestOptions): Promise<void> {
    const directories = new Set<string>();
    const removed: string[] = [];
    try {
      for (let i = 0; i < keys.length; i += DELETE_KEYS_PER_TURN) {
        if (i > 0) await nextTurn();
        const paths = keys.slice(i, i + DELETE_KEYS_PER_TURN).map(keyToPath);
        await this.#runLocked(() => {
          checkMayStart(options);
          this.#moveOut(paths, directories, removed);
        }, options.signal);
      }
      // Also where nothing was there to move: an earlier attempt may have done it and failed before its sync.
      await Promise.all([...directories].map((directory) => this.#syncIfPresent(directory)));
      if (removed.length < keys.length) await this.#bucket.check();
    } finally {
      // The objects are gone from the bucket; what fails to go here is cleared with the rest of this process's files.
      await Promise.allSettled(removed.map((path) => unlink(path)));
    }
  }

  async close(): Promise<void> {
    try {
      await runLocked(this.#lock, () => this.#temp.close());
    } finally {
      this.#lock.close();
    }
  }

  #moveOut(paths: readonly KeyPath[], directories: Set<string>, removed: string[]): void {
    for (const path of paths) {
      const directory = join(this.#bucket.root, ...path.directories);
      directories.add(directory);
      const file = join(directory, path.file);
      const temp = this.#temp.newPath();
      try {
        renameSync(file, temp);
        removed.push(temp);
      } catch (error) {
        // The place it was to be moved to may be what is missing.
        if (errnoOf(error) !== 'ENOENT' || existsSync(file)) throw error;
      }
    }
  }

  /** A lock that cannot be had may be all there is to see of a bucket that is gone. */
  async #runLocked<T>(fn: () => T, signal: AbortSignal | undefined): Promise<T> {
    try {
      return await runLocked(this.#lock, fn, signal);
    } catch (error) {
      if (isStorageError(error, 'ACCESS_DENIED')) await this.#bucket.check();
      throw error;
    }
  }

  async #syncIfPresent(directory: string): Promise<void> {
    try {
      await this.#directorySync.sync(directory);
    } catch (error) {
      if (errnoOf(error) !== 'ENOENT') throw error;
      await this.#bucket.checkAbsence(directory);
    }
  }

  async #writeTemp(temp: string, header: Buffer, body: Buffer): Promise<void> {
    const file = await open(temp, 'wx').catch(async (error: unknown) => {
      if (errnoOf(error) === 'ENOENT') await this.#bucket.check();
      throw error;
    });
    try {
      await file.writeFile(header);
      await file.writeFile(body);
      await file.datasync();
    } finally {
      await file.close();
    }
  }

  /**
   * Makes the directories of the path. A directory that was there already is synced into its parent too the first time
   * it is used: whoever made it may have died before doing so.
   */
  async #ensureDirectory(path: KeyPath): Promise<string> {
    let directory = this.#bucket.root;
    for (const name of path.directories) {
      const parent = directory;
      directory = join(parent, name);
      if (this.#durable.has(directory)) continue;
      await mkdir(directory).catch((error: unknown) => {
        if (errnoOf(error) !== 'EEXIST') throw error;
      });
      await this.#directorySync.sync(parent);
      if (this.#durable.size >= DURABLE_DIRECTORIES_MAX) this.#durable.clear();
      this.#durable.add(directory);
    }
    return directory;
  }
}

function checkCondition(target: string, key: string, options: PutOptions): void {
  if (options.ifNoneMatch === undefined && options.ifMatch === undefined) return;
  if (options.ifMatch === undefined) {
    if (readExists(target, key)) throw new StorageError('CONFLICT', `the object ${key} exists already`);
  } else if (readEtagSync(target, key) !== options.ifMatch) {
    throw new StorageError('CONFLICT', `the object ${key} has changed: its ETag is not ${options.ifMatch}`);
  }
}

/** A damaged object is there all the same. */
function readExists(target: string, key: string): boolean {
  try {
    return readEtagSync(target, key) !== null;
  } catch (error) {
    if (error instanceof StorageError && error.code === 'CORRUPT') return true;
    throw error;
  }
}

/**
 * Runs `fn` under the lock between processes. While another has it, this process blocks for a few milliseconds at a time,
 * and mostly goes on with its other work.
 */
async function runLocked<T>(lock: ProcessLock, fn: () => T, signal?: AbortSignal): Promise<T> {
  const startMs = performance.now();
  for (;;) {
    checkNotAborted(signal);
    let entered = false;
    try {
      return lock.runExclusive(() => {
        entered = true;
        return fn();
      });
    } catch (error) {
      const busy = !entered && error instanceof StorageError && error.retryable;
      if (!busy || performance.now() - startMs > LOCK_WAIT_MS) throw error;
    }
    await delay(5 + Math.random() * 20);
  }
}
