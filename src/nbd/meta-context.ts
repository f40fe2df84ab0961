/** Metadata contexts: what BLOCK_STATUS can tell about a range. Another namespace is another entry in the list. */
import type { DeviceExtent } from '../volume/block-device.ts';
import { AllocationState, CacheState } from './constants.ts';

export interface MetaContext {
  /** `namespace:leaf`. */
  readonly name: string;
  /** Names the context in replies; unique among those a server offers, and not 0. */
  readonly id: number;
  /** The status of a run, in 32 bits. Neighbours of one status are told of as one. */
  statusOf(extent: DeviceExtent): number;
}

/** What is allocated and what reads as zeros. */
export const baseAllocation: MetaContext = {
  name: 'base:allocation',
  id: 1,
  statusOf: ({ hole, zero }) => (hole ? AllocationState.HOLE : 0) | (zero ? AllocationState.ZERO : 0),
};

/** What of the device is in the local cache, and whether it is in the bucket too. */
export const bucketdiskState: MetaContext = {
  name: 'bucketdisk:state',
  id: 2,
  statusOf: ({ state }) => STATUS_OF_STATE[state],
};

const STATUS_OF_STATE: Readonly<Record<DeviceExtent['state'], number>> = {
  absent: CacheState.ABSENT,
  clean: CacheState.CLEAN,
  dirty: CacheState.DIRTY,
};

export const META_CONTEXTS: readonly MetaContext[] = [baseAllocation, bucketdiskState];

/**
 * The contexts that `queries` name. For a list, no queries at all mean every context, and `namespace:` all of a
 * namespace; for a selection a query must name a context in full. Unknown queries select nothing.
 */
export function matchContexts(
  contexts: readonly MetaContext[],
  queries: readonly string[],
  purpose: 'list' | 'select',
): MetaContext[] {
  if (purpose === 'select') return contexts.filter(({ name }) => queries.includes(name));
  if (queries.length === 0) return [...contexts];
  return contexts.filter(
    ({ name }) => queries.includes(name) || queries.includes(name.slice(0, name.indexOf(':') + 1)),
  );
}
