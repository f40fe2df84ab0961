/** A directory as a bucket: for development, tests, and disks kept on a file system of one's own. */
import { join } from 'node:path';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { checkDelete, checkGet, checkNotAborted, checkPut, LIST_PAGE_KEYS_MAX } from '../checks.ts';
import type {
  GetOptions,
  ListedObject,
  ListOptions,
  ObjectData,
  ObjectInfo,
  ObjectStore,
  PutOptions,
  PutResult,
  RequestOptions,
} from '../object-store.ts';
import { BucketDirectory } from './bucket-directory.ts';
import { FileWriter } from './file-writer.ts';
import { errnoOf, fromFsError } from './fs-errors.ts';
import { keyToPath } from './key-path.ts';
import { type FoundObject, walkObjects } from './listing.ts';
import { readInfo, readListedSync, readRange, readWhole } from './read-object.ts';

/** Headers read in one turn of the event loop while listing: about a millisecond. */
const HEADERS_PER_TURN = 64;

export class FileObjectStore implements ObjectStore {
  readonly description: string;
  readonly bucket: string;
  readonly #directory: BucketDirectory;
  /** Opened at the first write, so that a bucket that is only read is not written to. */
  #writer: Promise<FileWriter> | undefined;

  private constructor(directory: BucketDirectory) {
    this.#directory = directory;
    this.description = directory.url;
    this.bucket = directory.name;
  }

  /**
   * The bucket in `directory`, which is made with its parents where it is missing.
   * @throws StorageError ACCESS_DENIED, NO_SPACE, UNAVAILABLE
   */
  static async open(directory: string): Promise<FileObjectStore> {
    const bucket = new BucketDirectory(directory);
    await bucket.prepare();
    return new FileObjectStore(bucket);
  }

  async get(key: string, options: GetOptions = {}): Promise<ObjectData | null> {
    checkGet(key, options);
    const { range } = options;
    return this.#read(key, (path) => (range === undefined ? readWhole(path, key) : readRange(path, key, range)));
  }

  async head(key: string, options: RequestOptions = {}): Promise<ObjectInfo | null> {
    checkGet(key, options);
    return this.#read(key, (path) => readInfo(path, key));
  }

  async put(key: string, body: Buffer, options: PutOptions = {}): Promise<PutResult> {
    checkPut(key, options);
    try {
      return await (await this.#openWriter()).put(key, body, options);
    } catch (cause) {
      throw fromFsError(`writing the object ${key} in ${this.description}`, cause);
    }
  }

  async delete(keys: readonly string[], options: RequestOptions = {}): Promise<void> {
    checkDelete(keys, options);
    if (keys.length === 0) return;
    try {
      await (await this.#openWriter()).delete(keys, options.signal);
    } catch (cause) {
      throw fromFsError(`deleting ${keys.length} objects in ${this.description}`, cause);
    }
  }

  async *list(prefix: string, options: ListOptions = {}): AsyncGenerator<readonly ListedObject[]> {
    checkNotAborted(options.signal);
    try {
      let found: FoundObject[] = [];
      for await (const object of walkObjects(this.#directory.root, prefix, options.startAfter)) {
        found.push(object);
        if (found.length < LIST_PAGE_KEYS_MAX) continue;
        const page = await this.#listed(found, options.signal);
        found = [];
        if (page.length > 0) yield page;
      }
      const page = await this.#listed(found, options.signal);
      // An unmounted bucket looks like an empty one.
      await this.#directory.check();
      if (page.length > 0) yield page;
    } catch (cause) {
      throw fromFsError(`listing ${prefix}* in ${this.description}`, cause);
    }
  }

  async close(): Promise<void> {
    const opened = this.#writer;
    this.#writer = undefined;
    const writer = await opened?.catch(() => undefined); // A writer that never opened has nothing to release.
    try {
      await writer?.close();
    } catch (cause) {
      throw fromFsError(`closing ${this.description}`, cause);
    }
  }

  async #read<T>(key: string, read: (path: string) => Promise<T>): Promise<T | null> {
    const { directories, file } = keyToPath(key);
    try {
      return await read(join(this.#directory.root, ...directories, file));
    } catch (cause) {
      if (errnoOf(cause) !== 'ENOENT') throw fromFsError(`reading the object ${key} in ${this.description}`, cause);
      await this.#directory.check();
      return null;
    }
  }

  /** Reads what a listing tells of the objects, leaving out those deleted meanwhile. */
  async #listed(found: readonly FoundObject[], signal: AbortSignal | undefined): Promise<ListedObject[]> {
    const page: ListedObject[] = [];
    for (const [i, { path, key }] of found.entries()) {
      if (i % HEADERS_PER_TURN === HEADERS_PER_TURN - 1) await nextTurn();
      checkNotAborted(signal);
      const listed = readListedSync(path, key);
      if (listed !== null) page.push(listed);
    }
    return page;
  }

  #openWriter(): Promise<FileWriter> {
    if (this.#writer !== undefined) return this.#writer;
    const opening = this.#directory.check().then(() => FileWriter.open(this.#directory));
    this.#writer = opening;
    opening.catch(() => {
      if (this.#writer === opening) this.#writer = undefined; // The next write tries again.
    });
    return opening;
  }
}
