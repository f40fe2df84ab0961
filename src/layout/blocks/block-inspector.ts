/**
 * Looks at the objects of a volume's blocks and holds them against what is known of them. What looks wrong in a listing is looked
 * at again in the block's own turn, with no write of it under way: a listing is older than what was written since.
 */
import { describeError, isStorageError, StorageError } from '../../lib/errors.ts';
import type { Semaphore } from '../../lib/semaphore.ts';
import type { ListedObject, ObjectData, ObjectInfo, ObjectStore } from '../../object/object-store.ts';
import { type BlockCodec, parseContentEncoding } from './block-codec.ts';
import { BLOCK_COUNT_MAX, type BlockKeys } from './block-keys.ts';
import type { BlockQueues } from './block-queues.ts';
import { ABSENT, type BlockState, BlockStates, PRESENT, REPLACED, UNKNOWN } from './block-states.ts';
import type { EtagTable } from './etag-table.ts';

/** What a compressor and a cipher may add to a block that cannot be made smaller. */
const ENCODED_EXTRA_SHARE = 1 / 128;
const ENCODED_EXTRA_BYTES = 1024;

/**
 * - `missing`        there was an object, and it is gone
 * - `unexpected`     there should be none
 * - `changed`        it is not the one that was stored: its ETag is another
 * - `wrong-size`     it cannot be the block
 * - `corrupt`        its bytes do not pass their checks
 * - `undecryptable`  its HMAC does not match, or it is not encrypted as the volume is
 * - `unreadable`     the store itself says that it is damaged, and does not give it out
 */
export type BlockFault =
  | 'missing'
  | 'unexpected'
  | 'changed'
  | 'wrong-size'
  | 'corrupt'
  | 'undecryptable'
  | 'unreadable';

export interface BlockProblem {
  readonly fault: BlockFault;
  readonly detail: string;
  /** Of the object that is there; null where none is. */
  readonly etag: string | null;
}

/** A key below the volume's prefix. `block`: which one it names; null where it is none of this volume's shape. */
export interface ListedKey extends ListedObject {
  readonly block: number | null;
}

export interface InspectorParts {
  readonly store: ObjectStore;
  readonly keys: BlockKeys;
  readonly codec: BlockCodec;
  readonly queues: BlockQueues;
  readonly places: Semaphore;
  readonly states: BlockStates | null;
  readonly etags: EtagTable | null;
  readonly blockSizeBytes: number;
  readonly blockCount: () => number;
}

export class BlockInspector {
  readonly #parts: InspectorParts;

  constructor(parts: InspectorParts) {
    this.#parts = parts;
  }

  get blockCount(): number {
    return this.#parts.blockCount();
  }

  get blockSizeBytes(): number {
    return this.#parts.blockSizeBytes;
  }

  keyOf(block: number): string {
    return this.#parts.keys.keyOf(block);
  }

  /** Every key below the prefix, in key order, after `startAfter` where one is given. */
  async *list(signal: AbortSignal, startAfter?: string): AsyncGenerator<ListedKey[]> {
    const { store, keys } = this.#parts;
    for await (const page of store.list(keys.prefix, { signal, ...(startAfter === undefined ? {} : { startAfter }) })) {
      if (signal.aborted) throw new StorageError('CANCELLED', 'the scan was cancelled', { cause: signal.reason });
      yield page.map((object) => ({ ...object, block: keys.blockOf(object.key, BLOCK_COUNT_MAX) }));
    }
  }

  /** Whether the block, as it was listed, has to be looked at. */
  isSuspect(block: number, { sizeBytes, etag }: ListedObject): boolean {
    if (this.#stateOf(block) === ABSENT || this.#parts.etags?.mayBe(block, etag) === false) return true;
    return this.#parts.codec.writesPlain ? sizeBytes !== this.blockSizeBytes : !this.#canBeEncoded(sizeBytes);
  }

  /** A set of blocks to remember those in that a listing has. */
  newSet(): BlockStates {
    return new BlockStates(this.blockCount);
  }

  /** The first block from `from` on that should have an object and is not in `seen`; the number of blocks where there is none. */
  nextUnseen(seen: BlockStates, from: number): number {
    const { states } = this.#parts;
    const end = Math.min(this.blockCount, seen.blockCount);
    if (states === null) return end;
    for (let block = states.next(PRESENT, true, from, end); block < end; ) {
      if (seen.get(block) !== PRESENT) return block;
      block = states.next(PRESENT, true, block + 1, end);
    }
    return end;
  }

  /** In the block's turn. `deep`: its bytes too. Null where it is as it should be, or has been cut off. */
  look(block: number, { deep }: { readonly deep: boolean }, signal: AbortSignal): Promise<BlockProblem | null> {
    const { queues, places, store } = this.#parts;
    return queues.look(block, () =>
      places.run(async () => {
        if (block >= this.blockCount) return null;
        const key = this.keyOf(block);
        if (!deep) return orUnreadable(async () => this.#judge(block, await store.head(key, { signal })));
        return orUnreadable(async () => {
          const object = await store.get(key, { signal });
          return this.#judge(block, object) ?? this.#decode(block, object);
        });
      }, signal),
    );
  }

  /**
   * Reads the block's object and checks its bytes, beside what clients do; only where they are wrong in the block's turn. Also
   * tells how many bytes it fetched.
   */
  async verify(block: number, signal: AbortSignal): Promise<{ problem: BlockProblem | null; bytes: number }> {
    const { places, store } = this.#parts;
    let bytes = 0;
    const check = (): Promise<BlockProblem | null> =>
      orUnreadable(async () => {
        const object = await store.get(this.keyOf(block), { signal });
        bytes = object?.body.length ?? 0;
        return this.#judge(block, object) ?? this.#decode(block, object);
      });
    const problem = await places.run(check, signal);
    if (problem === null) return { problem, bytes };
    return { problem: await this.look(block, { deep: true }, signal), bytes };
  }

  /** The object as it is, to be kept elsewhere. */
  fetch(block: number, signal: AbortSignal): Promise<ObjectData | null> {
    return this.#parts.places.run(() => this.#parts.store.get(this.keyOf(block), { signal }), signal);
  }

  /**
   * Deletes the object of a block that should have none, where it is still the one with this ETag. It must have been kept
   * elsewhere. False where things have changed.
   */
  removeUnexpected(block: number, etag: string, signal: AbortSignal): Promise<boolean> {
    const { queues, store } = this.#parts;
    return queues.look(block, async () => {
      if (this.#stateOf(block) !== ABSENT) return false;
      const object = await store.head(this.keyOf(block), { signal });
      if (object === null || object.etag !== etag) return false;
      await store.delete([this.keyOf(block)], { signal });
      return true;
    });
  }

  #judge(block: number, object: ObjectInfo | null): BlockProblem | null {
    const state = this.#stateOf(block);
    if (object === null) {
      return state === PRESENT || state === REPLACED
        ? { fault: 'missing', detail: 'its object is gone', etag: null }
        : null;
    }
    const { etag, sizeBytes } = object;
    if (state === ABSENT) return { fault: 'unexpected', detail: 'there is an object where there should be none', etag };
    if (this.#parts.etags?.mayBe(block, etag) === false) {
      return { fault: 'changed', detail: 'its object is another one than was stored: the ETag differs', etag };
    }
    const isPlain = parseContentEncoding(object.contentEncoding).length === 0;
    const fits = isPlain ? sizeBytes === this.blockSizeBytes : this.#canBeEncoded(sizeBytes);
    if (fits) return null;
    return { fault: 'wrong-size', detail: `its object has ${sizeBytes} bytes`, etag };
  }

  async #decode(block: number, object: ObjectData | null): Promise<BlockProblem | null> {
    if (object === null) return null;
    try {
      await this.#parts.codec.decode(block, object);
      return null;
    } catch (error) {
      const fault = isStorageError(error, 'ACCESS_DENIED') ? 'undecryptable' : 'corrupt';
      return { fault, detail: describeError(error), etag: object.etag };
    }
  }

  #canBeEncoded(sizeBytes: number): boolean {
    return sizeBytes > 0 && sizeBytes <= this.blockSizeBytes * (1 + ENCODED_EXTRA_SHARE) + ENCODED_EXTRA_BYTES;
  }

  #stateOf(block: number): BlockState {
    const { states } = this.#parts;
    return states === null || block >= states.blockCount ? UNKNOWN : states.get(block);
  }
}

async function orUnreadable(check: () => Promise<BlockProblem | null>): Promise<BlockProblem | null> {
  try {
    return await check();
  } catch (error) {
    if (!isStorageError(error, 'CORRUPT')) throw error;
    return { fault: 'unreadable', detail: describeError(error), etag: null };
  }
}
