/** Finds out whether a store really honours conditional puts: some answer 200 and ignore the condition. */
import { randomBytes } from 'node:crypto';
import { isStorageError } from '../lib/errors.ts';
import { AmbiguousConflict } from './ambiguous-conflict.ts';
import type { ObjectStore, PutOptions, RequestOptions } from './object-store.ts';

export interface ConditionalPuts {
  /** A put with `ifNoneMatch: '*'` creates an object, and is refused where there is one. */
  readonly ifNoneMatch: boolean;
  /** A put with `ifMatch` is accepted for the object's ETag and refused for an old one. */
  readonly ifMatch: boolean;
}

/** Whether both are honoured: an object can be held, and replaced by whoever knows what is there alone. */
export function honoursBoth({ ifMatch, ifNoneMatch }: ConditionalPuts): boolean {
  return ifMatch && ifNoneMatch;
}

/**
 * Tries both conditions on an object of its own, `<prefix>probe-<random>`, and removes it again. Use it on a stack that
 * retries: a store that cannot be reached is an error here, not an answer.
 */
export async function probeConditionalPuts(
  store: ObjectStore,
  prefix: string,
  options: RequestOptions = {},
): Promise<ConditionalPuts> {
  for (let tries = 1; ; tries++) {
    const key = `${prefix}probe-${randomBytes(8).toString('hex')}`;
    try {
      return await probe(store, key, options);
    } catch (error) {
      // A lost answer has blurred the experiment: it is made again, with another key.
      if (!(error instanceof AmbiguousConflict) || tries === TRIES_MAX) throw error;
    } finally {
      // Not under the caller's signal: what was made is removed also when the probe is given up. A failure leaves a
      // small object behind that nothing reads, and must not hide what went wrong before.
      await store.delete([key]).catch(() => {});
    }
  }
}

/** With a store that loses many answers five in a row were blurred once, and the start failed for it. */
const TRIES_MAX = 20;

async function probe(store: ObjectStore, key: string, options: RequestOptions): Promise<ConditionalPuts> {
  const put = (text: string, condition: PutOptions): Promise<string | null> =>
    putUnlessRefused(store, key, text, { ...options, ...condition });
  const created = await put('1', { ifNoneMatch: '*' });
  const createdAgain = await put('2', { ifNoneMatch: '*' });
  // Each body differs from the one before, so that an ETag made from the body differs too.
  const old = created ?? (await store.put(key, Buffer.from('3'), options)).etag;
  const current = createdAgain ?? old;
  const replaced = await put('4', { ifMatch: current });
  const replacedAgain = await put('5', { ifMatch: current });
  return {
    ifNoneMatch: created !== null && createdAgain === null,
    ifMatch: replaced !== null && replacedAgain === null,
  };
}

/** The new ETag, or null where the store says that the condition does not hold, or that it knows no conditions. */
async function putUnlessRefused(
  store: ObjectStore,
  key: string,
  text: string,
  options: PutOptions,
): Promise<string | null> {
  try {
    return (await store.put(key, Buffer.from(text), options)).etag;
  } catch (error) {
    if (!(error instanceof AmbiguousConflict) && isStorageError(error, 'CONFLICT', 'UNSUPPORTED')) return null;
    throw error;
  }
}
