/** A bucket that remembers every request and lets a test step in, before its effect and after it. */
import type {
  ByteRange,
  GetOptions,
  ListedObject,
  ListOptions,
  ObjectData,
  ObjectInfo,
  ObjectStore,
  PutOptions,
  PutResult,
  RequestOptions,
} from '../../../src/object/object-store.ts';

export interface Call {
  readonly op: 'get' | 'head' | 'put' | 'delete' | 'list';
  /** One key but for `delete`; the prefix for `list`. */
  readonly keys: readonly string[];
  readonly range?: ByteRange | undefined;
  readonly put?: { readonly body: Buffer; readonly options: PutOptions | undefined };
}

export type Hook = (call: Call) => void | Promise<void>;

export class HookedObjectStore implements ObjectStore {
  readonly inner: ObjectStore;
  readonly calls: Call[] = [];
  /** Runs before the effect; what it throws is the request's error. For `list`, runs before each page is made. */
  before: Hook = () => {};
  /** Runs after the effect; for `list`, once a page has been made and before it is delivered. */
  after: Hook = () => {};

  constructor(inner: ObjectStore) {
    this.inner = inner;
  }

  get description(): string {
    return this.inner.description;
  }

  get bucket(): string {
    return this.inner.bucket;
  }

  count(op: Call['op']): number {
    return this.calls.filter((call) => call.op === op).length;
  }

  get(key: string, options?: GetOptions): Promise<ObjectData | null> {
    return this.#run({ op: 'get', keys: [key], range: options?.range }, () => this.inner.get(key, options));
  }

  head(key: string, options?: RequestOptions): Promise<ObjectInfo | null> {
    return this.#run({ op: 'head', keys: [key] }, () => this.inner.head(key, options));
  }

  put(key: string, body: Buffer, options?: PutOptions): Promise<PutResult> {
    const call: Call = { op: 'put', keys: [key], put: { body, options } };
    return this.#run(call, () => this.inner.put(key, body, options));
  }

  delete(keys: readonly string[], options?: RequestOptions): Promise<void> {
    return this.#run({ op: 'delete', keys }, () => this.inner.delete(keys, options));
  }

  async *list(prefix: string, options?: ListOptions): AsyncGenerator<readonly ListedObject[]> {
    const pages = this.inner.list(prefix, options)[Symbol.asyncIterator]();
    for (;;) {
      const page = await this.#run({ op: 'list', keys: [prefix] }, () => pages.next());
      if (page.done) return;
      yield page.value;
    }
  }

  close(): Promise<void> {
    return this.inner.close();
  }

  async #run<T>(call: Call, effect: () => Promise<T>): Promise<T> {
    this.calls.push(call);
    await this.before(call);
    const value = await effect();
    await this.after(call);
    return value;
  }
}

/** Stops every request it is called for until it is opened. */
export class Barrier {
  readonly #opened = Promise.withResolvers<void>();
  readonly #reached = Promise.withResolvers<void>();

  /** Resolves once somebody waits. */
  get reached(): Promise<void> {
    return this.#reached.promise;
  }

  wait(): Promise<void> {
    this.#reached.resolve();
    return this.#opened.promise;
  }

  open(): void {
    this.#opened.resolve();
  }
}
