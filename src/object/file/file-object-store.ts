/** A directory as a bucket: for development, tests, and disks kept on a file system of one's own. */
import { join } from 'node:path';
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
import { keyToPath, splitKey } from './key-path.ts';
import { type FoundObject, walkObjects } from './listing.ts';
import { readInfo, readListedObject, readRange, readWhole } from './read-object.ts';

/** Headers read at once while listing; a page has a whole number of these. */
const HEADERS_AT_ONCE = 20;

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
      await (await this.#openWriter()).delete(keys, options);
    } catch (cause) {
      throw fromFsError(`deleting ${keys.length} objects in ${this.description}`, cause);
    }
  }

  async *list(prefix: string, options: ListOptions = {}): AsyncGenerator<readonly ListedObject[]> {
    checkNotAborted(options.signal);
    try {
      let page: ListedObject[] = [];
      let found: FoundObject[] = [];
      for await (const object of walkObjects(this.#directory.root, prefix, options.startAfter)) {
        if (found.push(object) < HEADERS_AT_ONCE) continue;
        page.push(...(await readListed(found, options.signal)));
        found = [];
        if (page.length + HEADERS_AT_ONCE <= LIST_PAGE_KEYS_MAX) continue;
        yield page;
        page = [];
      }
      page.push(...(await readListed(found, options.signal)));
      // What is not mounted looks empty.
      const { directories } = splitKey(prefix);
      await this.#directory.checkAbsence(join(this.#directory.root, ...directories.map(({ name }) => name)));
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
    const path = join(this.#directory.root, ...directories, file);
    try {
      return await read(path);
    } catch (cause) {
      if (errnoOf(cause) !== 'ENOENT') throw fromFsError(`reading the object ${key} in ${this.description}`, cause);
      await this.#directory.checkAbsence(path);
      return null;
    }
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

/** What a listing tells of the objects, leaving out those deleted meanwhile. */
async function readListed(found: readonly FoundObject[], signal: AbortSignal | undefined): Promise<ListedObject[]> {
  checkNotAborted(signal);
  const listed = await Promise.all(found.map(({ path, key }) => readListedObject(path, key)));
  return listed.filter((object) => object !== null);
}
