/** The thread that a bucket in S3 is used on: hashing, signing and HTTP, away from the one that answers clients. */
import { parentPort, workerData } from 'node:worker_threads';
import { StorageError } from '../../lib/errors.ts';
import type { ListedObject } from '../object-store.ts';
import { S3ObjectStore } from '../s3/s3-object-store.ts';
import type { S3StoreOptions } from '../s3/s3-options.ts';
import { type Call, type FromThread, type Instant, msSince, sendError, type ToThread, type Value } from './messages.ts';

/**
 * A permission older than this is asked for again: the process, or the machine, may have stood still since it was given.
 */
const PERMISSION_MS_MAX = 200;

interface Listing {
  readonly pages: AsyncGenerator<readonly ListedObject[]>;
  /** Of all its requests. */
  readonly controller: AbortController;
}

type Permission = { readonly granted: boolean; readonly at: Instant };

class S3Thread {
  readonly #store: S3ObjectStore;
  readonly #post: (message: FromThread, transfer?: readonly ArrayBuffer[]) => void;
  readonly #calls = new Map<number, AbortController>();
  readonly #asking = new Map<number, (permission: Permission) => void>();
  /** By the id of the call that began them. */
  readonly #lists = new Map<number, Listing>();

  constructor(store: S3ObjectStore, post: (message: FromThread, transfer?: readonly ArrayBuffer[]) => void) {
    this.#store = store;
    this.#post = post;
  }

  receive(message: ToThread): void {
    if (message.kind === 'call') void this.#answer(message.id, message.call);
    else if (message.kind === 'abort') this.#calls.get(message.id)?.abort();
    else this.#asking.get(message.id)?.(message);
  }

  async #answer(id: number, call: Call): Promise<void> {
    const listing = call.name === 'next' ? this.#lists.get(call.list) : undefined;
    const controller = listing?.controller ?? new AbortController();
    this.#calls.set(id, controller);
    try {
      const value = await this.#carryOut(id, call, controller);
      const transfer = value !== null && value !== undefined && 'body' in value ? [value.body.buffer] : [];
      this.#post({ kind: 'value', id, value }, transfer);
    } catch (error) {
      this.#post({ kind: 'error', id, error: sendError(error) });
    } finally {
      this.#calls.delete(id);
    }
  }

  async #carryOut(id: number, call: Call, controller: AbortController): Promise<Value> {
    const store = this.#store;
    const { signal } = controller;
    switch (call.name) {
      case 'get': {
        const found = await store.get(call.key, call.range === undefined ? { signal } : { signal, range: call.range });
        return found === null ? null : { ...found, body: ownBytes(found.body) };
      }
      case 'head':
        return store.head(call.key, { signal });
      case 'put': {
        const { key, body, headers, ifMatch, ifNoneMatch, asks } = call;
        return store.put(key, Buffer.from(body.buffer, body.byteOffset, body.length), {
          signal,
          ...(headers === undefined ? {} : { headers }),
          ...(ifMatch === undefined ? {} : { ifMatch }),
          ...(ifNoneMatch === undefined ? {} : { ifNoneMatch }),
          ...(asks ? { mayStart: () => this.#mayStart(id) } : {}),
        });
      }
      case 'delete':
        await store.delete(call.keys, { signal, ...(call.asks ? { mayStart: () => this.#mayStart(id) } : {}) });
        return undefined;
      case 'list': {
        const { prefix, startAfter } = call;
        const pages = store.list(prefix, { signal, ...(startAfter === undefined ? {} : { startAfter }) });
        this.#lists.set(id, { pages, controller });
        return this.#page(id);
      }
      case 'next':
        return this.#page(call.list);
      case 'end':
        await this.#lists.get(call.list)?.pages.return(undefined);
        this.#lists.delete(call.list);
        return undefined;
      case 'close':
        await store.close();
        return undefined;
    }
  }

  /** Undefined behind the last. A listing that is not known here is not at its end: it was begun on a thread that has ended since. */
  async #page(list: number): Promise<Value> {
    const listing = this.#lists.get(list);
    if (listing === undefined)
      throw new StorageError('UNAVAILABLE', 'the listing has ended with the thread that made it');
    let page: IteratorResult<readonly ListedObject[]> | undefined;
    try {
      page = await listing.pages.next();
    } finally {
      if (page?.done !== false) this.#lists.delete(list);
    }
    return page?.done === false ? page.value : undefined;
  }

  async #mayStart(id: number): Promise<boolean> {
    for (;;) {
      const { granted, at } = await this.#ask(id);
      if (!granted) return false;
      if (msSince(at) < PERMISSION_MS_MAX) return true;
    }
  }

  #ask(id: number): Promise<Permission> {
    const { promise, resolve } = Promise.withResolvers<Permission>();
    this.#asking.set(id, resolve);
    this.#post({ kind: 'ask', id });
    return promise.finally(() => this.#asking.delete(id));
  }
}

/** The buffer, alone in its memory, which it can be handed over with. */
function ownBytes(body: Buffer): Uint8Array<ArrayBuffer> {
  if (body.buffer instanceof ArrayBuffer && body.buffer.byteLength === body.length) {
    return new Uint8Array(body.buffer);
  }
  return new Uint8Array(body);
}

const port = parentPort;
if (port === null) throw new Error('this file runs as a thread of the appliance only');
try {
  const thread = new S3Thread(new S3ObjectStore(workerData as S3StoreOptions), (message, transfer = []) =>
    port.postMessage(message, transfer),
  );
  port.on('message', (message: ToThread) => thread.receive(message));
  port.postMessage({ kind: 'ready' } satisfies FromThread);
} catch (error) {
  port.postMessage({ kind: 'refused', error: sendError(error) } satisfies FromThread);
}
