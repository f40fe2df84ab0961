/** Memory for slabs as a test has it: what is given back is spoilt at once and the next to be used, so that whoever still looks at it is seen. */
import assert from 'node:assert/strict';
import type { SlabMemory } from '../../src/cache/log/slab-pool.ts';

const POISON = 0xee;

export class PoisonedSlabs implements SlabMemory {
  readonly #free: Buffer[] = [];
  /** Taken and not given back. */
  readonly inUse = new Set<Buffer>();

  take(bytes: number): Buffer {
    const at = this.#free.findLastIndex(({ length }) => length >= bytes);
    const [buffer = Buffer.alloc(bytes, POISON)] = at < 0 ? [] : this.#free.splice(at, 1);
    this.inUse.add(buffer);
    return buffer;
  }

  give(buffer: Buffer): void {
    // Not an error of whoever gives: a sync that nobody waits for would swallow it.
    if (!this.inUse.delete(buffer)) queueMicrotask(() => assert.fail('a slab was given back that nobody had'));
    buffer.fill(POISON);
    this.#free.push(buffer);
  }
}
