/** The right to write a volume, as those who write see it. */
import type { StorageError } from '../lib/errors.ts';

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

/** For volumes that are not held: read-only ones, and those that several appliances write by agreement. */
export const openFence: Fence = {
  valid: true,
  lost: null,
  lapse: new AbortController().signal,
  permitted: () => Promise.resolve(),
};
