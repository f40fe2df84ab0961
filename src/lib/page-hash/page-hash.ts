/** A hash of pages, made in a memory of its own. */
import { PAGE_HASH_CODE } from './code.ts';
import { BUFFERS_START, HASHED_PAGE_BYTES, SCRATCH_START } from './layout.ts';

interface PageHashExports {
  readonly memory: { readonly buffer: ArrayBuffer };
  readonly pageHash: (address: number) => number;
}

/** What is used of it: TypeScript has its types only beside those of a browser. */
declare const WebAssembly: {
  readonly validate: (code: Uint8Array) => boolean;
  readonly Module: new (code: Uint8Array) => object;
  readonly Instance: new (module: object) => { readonly exports: unknown };
};

const CODE = Buffer.from(PAGE_HASH_CODE, 'base64');

export class PageHash {
  /** Whether it runs on this machine: not on processors without SIMD. */
  static get isSupported(): boolean {
    return WebAssembly.validate(CODE);
  }

  /** All of it, for good: it never grows, as that would take it from the buffers in it. */
  readonly memory: ArrayBuffer;
  readonly #scratch: Buffer;
  readonly #hash: (address: number) => number;
  #taken = BUFFERS_START;

  constructor() {
    const module = new WebAssembly.Module(CODE);
    const { memory, pageHash } = new WebAssembly.Instance(module).exports as PageHashExports;
    this.memory = memory.buffer;
    this.#scratch = Buffer.from(memory.buffer, SCRATCH_START, HASHED_PAGE_BYTES);
    this.#hash = pageHash;
  }

  /** Of the page in `bytes` from `at` on: 32 bits. Where the buffer is one of `allocate`, nothing is copied. */
  hash(bytes: Buffer, at: number): number {
    const end = at + HASHED_PAGE_BYTES;
    if (end > bytes.length) throw new RangeError(`no page at ${at} of ${bytes.length} bytes`);
    if (bytes.buffer === this.memory) return this.#hash(bytes.byteOffset + at) >>> 0;
    bytes.copy(this.#scratch, 0, at, end);
    return this.#hash(SCRATCH_START) >>> 0;
  }

  /** A buffer in which pages are hashed where they lie, or null where there is no memory left. It is the caller's for good. */
  allocate(length: number): Buffer | null {
    const start = this.#taken;
    if (start + length > this.memory.byteLength) return null;
    this.#taken = Math.ceil((start + length) / HASHED_PAGE_BYTES) * HASHED_PAGE_BYTES;
    return Buffer.from(this.memory, start, length);
  }
}
