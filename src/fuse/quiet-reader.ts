/**
 * Reads from a descriptor that does not block and says that nothing is there without an exception: the one that readSync throws takes ten times as long
 * as the system call does. Node has a single function that reads at once and returns errors as numbers, the one by which programs of
 * WASI read. It reads for us as it would for those, into memory of WebAssembly.
 */

/** What is used of WASI and WebAssembly: TypeScript has the latter's types only beside those of a browser. */
interface Wasi {
  readonly wasiImport: {
    readonly fd_read: (fd: number, vectors: number, vectorCount: number, readBytes: number) => number;
  };
  /** Begins, with the memory that all addresses are in. */
  initialize(instance: { readonly exports: { readonly memory: Memory } }): unknown;
}

interface Memory {
  readonly buffer: ArrayBuffer;
}

declare const WebAssembly: {
  readonly Memory: new (size: { readonly initial: number; readonly maximum: number }) => Memory;
};

type WasiClass = new (options: {
  readonly version: 'preview1';
  readonly stdin: number;
  readonly stdout: number;
  readonly stderr: number;
}) => Wasi;

const WASM_PAGE_BYTES = 64 * 1024;
const OK = 0;
/** The descriptor, as WASI numbers it. */
const STDIN = 0;
/** Where in the memory it says where to read to, and how much came of it. */
const VECTOR_AT = 0;
const READ_BYTES_AT = 8;

export class QuietReader {
  /** In the only memory that can be read into. */
  readonly buffers: readonly Buffer[];
  readonly #memory: ArrayBuffer;
  readonly #words: Uint32Array;
  readonly #read: Wasi['wasiImport']['fd_read'];

  private constructor(wasi: Wasi, memory: Memory, bufferBytes: number, bufferCount: number) {
    this.#memory = memory.buffer;
    this.#words = new Uint32Array(this.#memory);
    this.#read = wasi.wasiImport.fd_read;
    this.buffers = Array.from({ length: bufferCount }, (_, index) =>
      Buffer.from(this.#memory, WASM_PAGE_BYTES + index * wholePages(bufferBytes), bufferBytes),
    );
  }

  /** Null where this Node has no such function: it is marked as experimental. The descriptor stays the caller's. */
  static open(fd: number, bufferBytes: number, bufferCount: number): QuietReader | null {
    try {
      // Each of the three has to be a descriptor that is open.
      const wasi = new (wasiClass())({ version: 'preview1', stdin: fd, stdout: fd, stderr: fd });
      const pages = (WASM_PAGE_BYTES + bufferCount * wholePages(bufferBytes)) / WASM_PAGE_BYTES;
      const memory = new WebAssembly.Memory({ initial: pages, maximum: pages });
      wasi.initialize({ exports: { memory } });
      return new QuietReader(wasi, memory, bufferBytes, bufferCount);
    } catch {
      return null;
    }
  }

  /** Reads once, if `target` is one of the buffers: how many bytes came. 0 where none did, for whatever reason. */
  read(target: Buffer): number {
    if (target.buffer !== this.#memory) return 0;
    this.#words[VECTOR_AT / 4] = target.byteOffset;
    this.#words[VECTOR_AT / 4 + 1] = target.length;
    if (this.#read(STDIN, VECTOR_AT, 1, READ_BYTES_AT) !== OK) return 0;
    return this.#words[READ_BYTES_AT / 4] ?? 0;
  }
}

function wholePages(bytes: number): number {
  return Math.ceil(bytes / WASM_PAGE_BYTES) * WASM_PAGE_BYTES;
}

/** Loads the module, which warns whoever runs us that it is experimental: they can do nothing about that, and we can do without. */
function wasiClass(): WasiClass {
  const { emitWarning } = process;
  process.emitWarning = () => {};
  try {
    return process.getBuiltinModule('node:wasi').WASI as unknown as WasiClass;
  } finally {
    process.emitWarning = emitWarning;
  }
}
