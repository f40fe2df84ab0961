/**
 * A bucket in S3 that is used on a thread of its own. The SDK, the digests and the signatures of a block of 1 MiB take
 * milliseconds, which would be in the way of whoever reads from the cache meanwhile.
 */
import { Worker } from 'node:worker_threads';
import { StorageError } from '../../lib/errors.ts';
import { checkDelete, checkGet, checkNotAborted, checkPut } from '../checks.ts';
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
import type { S3StoreOptions } from '../s3/s3-options.ts';
import {
  type Call,
  type FromThread,
  instant,
  receiveError,
  type SentObject,
  type ToThread,
  type Value,
} from './messages.ts';

/** As it is now: TypeScript, or what is built from it. */
const THREAD = new URL(import.meta.url.endsWith('.ts') ? './s3-thread.ts' : './s3-thread.js', import.meta.url);

interface Pending {
  readonly resolve: (value: Value) => void;
  readonly reject: (error: unknown) => void;
  readonly options: RequestOptions;
}

export class ThreadedObjectStore implements ObjectStore {
  readonly description: string;
  readonly bucket: string;
  readonly #options: S3StoreOptions;
  readonly #code: URL;
  readonly #pending = new Map<number, Pending>();
  #worker: Promise<Worker> | null = null;
  #nextId = 0;

  private constructor(options: S3StoreOptions, code: URL) {
    this.#options = options;
    this.#code = code;
    this.bucket = options.bucket;
    this.description = `s3://${options.bucket}`;
  }

  /** Rejects with StorageError INVALID where the options cannot be used. `code`: what the thread runs. */
  static async open(options: S3StoreOptions, code = THREAD): Promise<ThreadedObjectStore> {
    const store = new ThreadedObjectStore(options, code);
    await store.#thread();
    return store;
  }

  async get(key: string, options: GetOptions = {}): Promise<ObjectData | null> {
    checkGet(key, options);
    const found = (await this.#call({ name: 'get', key, range: options.range }, options)) as SentObject | null;
    if (found === null) return null;
    const { buffer, byteOffset, length } = found.body;
    return { ...found, body: Buffer.from(buffer, byteOffset, length) };
  }

  async head(key: string, options: RequestOptions = {}): Promise<ObjectInfo | null> {
    checkGet(key, options);
    return (await this.#call({ name: 'head', key }, options)) as ObjectInfo | null;
  }

  async put(key: string, body: Buffer, options: PutOptions = {}): Promise<PutResult> {
    checkPut(key, options);
    const { headers, ifMatch, ifNoneMatch, mayStart } = options;
    const put = { name: 'put', key, headers, ifMatch, ifNoneMatch, asks: mayStart !== undefined } as const;
    if (body.buffer instanceof SharedArrayBuffer) return (await this.#call({ ...put, body }, options)) as PutResult;
    // The caller keeps its own: the same body is sent again where this fails.
    const copy = new Uint8Array(body);
    return (await this.#call({ ...put, body: copy }, options, [copy.buffer])) as PutResult;
  }

  async delete(keys: readonly string[], options: RequestOptions = {}): Promise<void> {
    checkDelete(keys, options);
    await this.#call({ name: 'delete', keys, asks: options.mayStart !== undefined }, options);
  }

  async *list(prefix: string, options: ListOptions = {}): AsyncGenerator<readonly ListedObject[]> {
    checkNotAborted(options.signal);
    // The id of the call that follows.
    const list = this.#nextId;
    let page = await this.#call({ name: 'list', prefix, startAfter: options.startAfter }, options);
    try {
      while (page !== undefined) {
        yield page as readonly ListedObject[];
        checkNotAborted(options.signal);
        page = await this.#call({ name: 'next', list }, options);
      }
    } finally {
      if (page !== undefined) await this.#call({ name: 'end', list }, {});
    }
  }

  async close(): Promise<void> {
    const opened = await this.#worker?.catch(() => null);
    if (opened === null || opened === undefined) return;
    await this.#call({ name: 'close' }, {});
    this.#worker = null;
    await opened.terminate();
  }

  async #call(call: Call, options: RequestOptions, transfer: readonly ArrayBuffer[] = []): Promise<Value> {
    const id = this.#nextId++;
    const worker = await this.#thread();
    const { signal } = options;
    checkNotAborted(signal);
    const onAbort = (): void => worker.postMessage({ kind: 'abort', id } satisfies ToThread);
    signal?.addEventListener('abort', onAbort, { once: true });
    try {
      return await new Promise<Value>((resolve, reject) => {
        if (this.#pending.size === 0) worker.ref();
        this.#pending.set(id, { resolve, reject, options });
        worker.postMessage({ kind: 'call', id, call } satisfies ToThread, transfer);
      });
    } finally {
      signal?.removeEventListener('abort', onAbort);
      this.#pending.delete(id);
      if (this.#pending.size === 0) worker.unref();
    }
  }

  /** The thread, once it is ready; begun again where it has ended by itself. */
  #thread(): Promise<Worker> {
    this.#worker ??= this.#begin();
    return this.#worker;
  }

  #begin(): Promise<Worker> {
    const worker = new Worker(this.#code, { workerData: this.#options, name: 's3' });
    const { promise, resolve, reject } = Promise.withResolvers<Worker>();
    let failure: unknown;
    worker.on('message', (message: FromThread) => {
      if (message.kind === 'ready') {
        worker.unref();
        resolve(worker);
      } else if (message.kind === 'refused') {
        reject(receiveError(message.error));
        void worker.terminate();
      } else {
        this.#receive(worker, message);
      }
    });
    worker.on('error', (error) => {
      failure = error;
    });
    worker.on('exit', () => {
      const ended = new StorageError('UNAVAILABLE', `the thread for ${this.description} has ended`, { cause: failure });
      reject(ended);
      if (this.#worker === promise) this.#worker = null;
      for (const pending of this.#pending.values()) pending.reject(ended);
    });
    return promise;
  }

  #receive(worker: Worker, message: Exclude<FromThread, { kind: 'ready' | 'refused' }>): void {
    const pending = this.#pending.get(message.id);
    if (pending === undefined) return;
    const { signal, mayStart } = pending.options;
    if (message.kind === 'value') {
      pending.resolve(message.value);
    } else if (message.kind === 'error') {
      const cause: unknown = message.error.code === 'CANCELLED' && signal?.aborted ? signal.reason : undefined;
      pending.reject(receiveError(message.error, cause));
    } else {
      const at = instant();
      const granted = mayStart === undefined || mayStart();
      worker.postMessage({ kind: 'permission', id: message.id, granted, at } satisfies ToThread);
    }
  }
}
