/** Deleting what a listing finds, however much it is. */
import { DELETE_KEYS_MAX, type ListedObject, type ObjectStore } from './object-store.ts';

export interface DeleteListedOptions {
  readonly signal?: AbortSignal;
  /** Which of what is listed; all of it where left out. */
  readonly only?: (listed: ListedObject) => boolean;
  /** Called after each page of the listing with how many have been deleted so far. */
  readonly onDeleted?: (deleted: number) => void;
}

/** Deletes the objects whose keys begin with `prefix`, a page of the listing at a time, and returns how many there were. */
export async function deleteListed(
  store: ObjectStore,
  prefix: string,
  { signal, only = () => true, onDeleted }: DeleteListedOptions = {},
): Promise<number> {
  const request = signal === undefined ? {} : { signal };
  let deleted = 0;
  for await (const page of store.list(prefix, request)) {
    const keys = page.filter(only).map(({ key }) => key);
    for (let at = 0; at < keys.length; at += DELETE_KEYS_MAX) {
      await store.delete(keys.slice(at, at + DELETE_KEYS_MAX), request);
    }
    deleted += keys.length;
    onDeleted?.(deleted);
  }
  return deleted;
}
