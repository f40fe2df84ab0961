/** The right to write a volume, as those who write see it. */
import { waitOrGiveUp } from '../lib/deadline.ts';
import { isStorageError, type StorageError } from '../lib/errors.ts';

export interface Fence {
  /** Whether we hold the volume at this moment, as far as our own clocks tell. */
  readonly valid: boolean;
  /** Why the volume is lost to us for good, or null. */
  readonly lost: StorageError | null;
  /** Aborts when the present permission ends; another signal takes its place when it comes back. */
  readonly lapse: AbortSignal;
  /** Resolves as soon as writing is permitted. Rejects with FENCED once it never will be, CANCELLED when we are stopping. */
  permitted(): Promise<void>;
}

/** The fence as those see it who send the writes. */
export interface WriteFence extends Fence {
  /** A write ended without a clear answer: it may still arrive. */
  noteUnsettled(): void;
}

/**
 * How `work` ended, told once it is known that the volume was ours until then: once another writer may have it, what is remembered
 * of its blocks may be wrong. Rejects as `permitted` where it is not, whatever came of the work: an object that is gone may be the
 * other writer's doing. That the bucket does not answer is told at once: whose the volume is cannot be known before it does. Asked
 * after the work and not before: a volume that is ours then was ours all along, and requests reach the layout in the order they are made.
 * CANCELLED where `signal` aborts before that is known.
 */
export async function whenOurs<T>(fence: Fence, work: Promise<T>, signal?: AbortSignal): Promise<T> {
  const [ended] = await Promise.allSettled([work]);
  const failed = ended.status === 'rejected';
  if (failed && isStorageError(ended.reason, 'UNAVAILABLE', 'TIMEOUT')) throw fence.lost ?? ended.reason;
  if (!fence.valid) await permitted(fence, signal);
  if (failed) throw ended.reason;
  return ended.value;
}

/** As `fence.permitted`; CANCELLED where `signal` aborts first. */
export async function permitted(fence: Fence, signal: AbortSignal | undefined): Promise<void> {
  if (signal === undefined) return fence.permitted();
  await waitOrGiveUp(fence.permitted(), signal, 'the right to write');
}

/** For volumes that are not held: read-only ones, and those that several appliances write by agreement. */
export const openFence: Fence = {
  valid: true,
  lost: null,
  lapse: new AbortController().signal,
  permitted: () => Promise.resolve(),
};
