/** Waiting for several things of which some may fail. */

/** Waits until every promise has settled, then rejects with the first error there was, in the order given. */
export async function settleAll(promises: readonly Promise<unknown>[]): Promise<void> {
  for (const result of await Promise.allSettled(promises)) {
    if (result.status === 'rejected') throw result.reason;
  }
}
