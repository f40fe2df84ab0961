/** Deleting whatever objects a range of blocks has, known or not. */
import { waitOrGiveUp } from '../../lib/deadline.ts';
import { settleAll } from '../../lib/settle.ts';
import type { ObjectStore } from '../../object/object-store.ts';
import type { BlockKeys } from './block-keys.ts';
import { listBlocks } from './block-listing.ts';
import type { DeleteBatcher } from './delete-batcher.ts';

export interface BlockDiscardsOptions {
  readonly store: ObjectStore;
  readonly keys: BlockKeys;
  readonly deletes: DeleteBatcher;
  /** Ends whatever is under way. */
  readonly stop: AbortSignal;
}

export class BlockDiscards {
  readonly #options: BlockDiscardsOptions;
  /** The last deletes, which may go on after who wanted them has given up. Never rejects. */
  #deleting: Promise<unknown> = Promise.resolve();

  constructor(options: BlockDiscardsOptions) {
    this.#options = options;
  }

  /** Resolves once nothing is being deleted any more. Never rejects. */
  async idle(): Promise<void> {
    await this.#deleting;
  }

  /**
   * Deletes the objects that blocks [first, end) have; returns how many there were. `onDeleted` is called with how many it has been so far. One at
   * a time. CANCELLED when `signal` aborts: deletes may be under way still, and the next one waits for them, as they would take what is
   * written there after it.
   */
  async run(first: number, end: number, signal: AbortSignal, onDeleted?: (blocks: number) => void): Promise<number> {
    let deleted = 0;
    if (end <= first) return deleted;
    const { store, keys, deletes, stop } = this.#options;
    const ends = AbortSignal.any([stop, signal]);
    await waitOrGiveUp(this.#deleting, ends, 'blocks to be deleted');
    for await (const blocks of listBlocks(store, keys, first, end, ends)) {
      const deleting = settleAll(blocks.map(({ block }) => deletes.delete(keys.keyOf(block))));
      this.#deleting = deleting.catch(() => {});
      await waitOrGiveUp(deleting, ends, 'blocks to be deleted');
      deleted += blocks.length;
      onDeleted?.(deleted);
    }
    return deleted;
  }
}
