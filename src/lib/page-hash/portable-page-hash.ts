/**
 * The page hash where the processor has no SIMD that WebAssembly could use: below SSE4.1, as in virtual machines with a CPU of the
 * type kvm64. It takes some three times as long as XXH64, but what it makes of a page is the same on all machines: caches move.
 */
import type { IHasher } from 'hash-wasm';
import { HASHED_PAGE_BYTES } from './layout.ts';

/** Where the lower 32 bits are in the digest, which begins with the highest byte. */
const LOW_WORD_AT = 4;

export class PortablePageHash {
  /** Pages are hashed in no memory of its own. */
  readonly memory = null;
  readonly #hasher: IHasher;

  private constructor(hasher: IHasher) {
    this.#hasher = hasher;
  }

  static async load(): Promise<PortablePageHash> {
    const { createXXHash3 } = await import('hash-wasm');
    return new PortablePageHash(await createXXHash3());
  }

  /** Of the page in `bytes` from `at` on: 32 bits. */
  hash(bytes: Buffer, at: number): number {
    const page = bytes.subarray(at, at + HASHED_PAGE_BYTES);
    if (page.length < HASHED_PAGE_BYTES) throw new RangeError(`no page at ${at} of ${bytes.length} bytes`);
    const digest = this.#hasher.init().update(page).digest('binary');
    return new DataView(digest.buffer, digest.byteOffset).getUint32(LOW_WORD_AT);
  }

  allocate(): null {
    return null;
  }
}
