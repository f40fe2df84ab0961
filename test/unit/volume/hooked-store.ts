/** A store whose requests a test sees and meddles with: before they take effect, and before they are answered. */
import { StorageError } from '../../../src/lib/errors.ts';
import { checkMayStart } from '../../../src/object/checks.ts';
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
} from '../../../src/object/object-store.ts';

export interface Operation {
  readonly kind: 'get' | 'head' | 'put' | 'delete' | 'list';
  /** The prefix of a listing. */
  readonly keys: readonly string[];
  readonly body: Buffer | null;
  readonly options: PutOptions;
}

/** Throws, or rejects, what the request is to fail with; a promise delays it. */
export type Hook = (operation: Operation) => void | Promise<void>;

const nothing: Hook = () => {};

export class HookedStore implements ObjectStore {
  readonly inner: ObjectStore;
  /** Every request that was made, in order. */
  readonly operations: Operation[] = [];
  before: Hook = nothing;
  /** What it throws is a lost answer: the request has taken effect. */
  after: Hook = nothing;
  /** Answers every conditional put as if it had no condition. */
  ignoresConditions = false;

  constructor(inner: ObjectStore) {
    this.inner = inner;
  }

  get description(): string {
    return this.inner.description;
  }

  get bucket(): string {
    return this.inner.bucket;
  }

  /** The requests that change something. */
  get writes(): Operation[] {
    return this.operations.filter(({ kind }) => kind === 'put' || kind === 'delete');
  }

  get(key: string, options: GetOptions = {}): Promise<ObjectData | null> {
    return this.#pass({ kind: 'get', keys: [key], body: null, options }, () => this.inner.get(key, options));
  }

  head(key: string, options: RequestOptions = {}): Promise<ObjectInfo | null> {
    return this.#pass({ kind: 'head', keys: [key], body: null, options }, () => this.inner.head(key, options));
  }

  put(key: string, body: Buffer, options: PutOptions = {}): Promise<PutResult> {
    return this.#pass({ kind: 'put', keys: [key], body, options }, () => {
      const { ifMatch, ifNoneMatch, signal, ...rest } = options;
      return this.inner.put(key, body, this.ignoresConditions ? rest : { ...options, ...rest });
    });
  }

  delete(keys: readonly string[], options: RequestOptions = {}): Promise<void> {
    return this.#pass({ kind: 'delete', keys, body: null, options }, () => this.inner.delete(keys));
  }

  async *list(prefix: string, options: ListOptions = {}): AsyncGenerator<readonly ListedObject[]> {
    await this.#pass({ kind: 'list', keys: [prefix], body: null, options: {} }, async () => {});
    yield* this.inner.list(prefix, options);
  }

  close(): Promise<void> {
    return this.inner.close();
  }

  /** The keys there are, in order. */
  async keys(prefix = ''): Promise<string[]> {
    const keys: string[] = [];
    for await (const page of this.inner.list(prefix)) keys.push(...page.map(({ key }) => key));
    return keys;
  }

  async #pass<T>(operation: Operation, request: () => Promise<T>): Promise<T> {
    checkMayStart(operation.options);
    this.operations.push(operation);
    await cancellable(this.before(operation), operation.options.signal);
    const answer = await request();
    await cancellable(this.after(operation), operation.options.signal);
    return answer;
  }
}

/** As a real store does: the caller who cancels is answered at once. */
async function cancellable(work: void | Promise<void>, signal: AbortSignal | undefined): Promise<void> {
  if (signal === undefined) return work;
  const { promise, reject } = Promise.withResolvers<never>();
  const onAbort = (): void =>
    reject(new StorageError('CANCELLED', 'the request was cancelled', { cause: signal.reason }));
  signal.addEventListener('abort', onAbort, { once: true });
  if (signal.aborted) onAbort();
  try {
    await Promise.race([work, promise]);
  } finally {
    signal.removeEventListener('abort', onAbort);
  }
}

export function lostAnswer(): StorageError {
  return new StorageError('TIMEOUT', 'no answer');
}

export function unreachable(): StorageError {
  return new StorageError('UNAVAILABLE', 'cannot be reached');
}

/** The `nth` put of that key from now on does not reach the bucket; the others do. */
export function failPut(store: HookedStore, key: string, nth: number): void {
  let puts = 0;
  store.before = ({ kind, keys }) => {
    if (kind === 'put' && keys[0] === key && ++puts === nth) throw unreachable();
  };
}
