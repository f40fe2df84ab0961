/** Metadata contexts: what BLOCK_STATUS can tell about a range. Another namespace is another entry in the list. */
import type { BlockDevice, DeviceExtent } from '../volume/block-device.ts';
import { AllocationState } from './constants.ts';

/** A run of the device with one status, in the terms of its context. */
export interface StatusRun {
  readonly length: number;
  readonly status: number;
}

export interface MetaContext {
  /** `namespace:leaf`. */
  readonly name: string;
  /** Names the context in replies; unique among those a server offers, and not 0. */
  readonly id: number;
  /** Adjacent runs from `offset` on that cover at most `length` bytes, and at least one byte. */
  status(device: BlockDevice, offset: number, length: number): StatusRun[] | Promise<StatusRun[]>;
}

/** What is allocated and what reads as zeros, from the device's own map. */
export const baseAllocation: MetaContext = {
  name: 'base:allocation',
  id: 1,
  status(device, offset, length) {
    const extents = device.extents(offset, length);
    return Array.isArray(extents) ? allocationRuns(extents) : extents.then(allocationRuns);
  },
};

export const META_CONTEXTS: readonly MetaContext[] = [baseAllocation];

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

function allocationRuns(extents: readonly DeviceExtent[]): StatusRun[] {
  return extents.map(({ length, hole, zero }) => ({
    length,
    status: (hole ? AllocationState.HOLE : 0) | (zero ? AllocationState.ZERO : 0),
  }));
}
