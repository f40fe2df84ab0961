/** Fetches what is not here from the layout: once for all who want it, with its neighbours, and into the read cache. */

import type { Layout } from '../../layout/layout.ts';
import { Semaphore } from '../../lib/semaphore.ts';
import { PAGE_BYTES } from '../page.ts';

/** Where fetched pages are kept. */
export interface PageSink {
  insert(firstPage: number, data: Buffer, kind: 'demand' | 'ahead'): Promise<void>;
}

/** Long runs are fetched in pieces that go in parallel. */
const PIECE_BYTES_MAX = 1024 * 1024;
/** Pieces that are read ahead and not wanted by anybody yet. */
const AHEAD_PIECES_MAX = 16;

interface Fetch {
  readonly firstChunk: number;
  readonly endChunk: number;
  readonly bytes: Promise<Buffer>;
  /** Pages that have been written to the bucket since it began. */
  superseded: Set<number> | null;
}

export interface FetcherOptions {
  readonly layout: Layout;
  readonly sink: PageSink;
  /** See CachedVolumeOptions. */
  readonly whenOurs: <T>(work: Promise<T>) => Promise<T>;
}

export class Fetcher {
  readonly #layout: Layout;
  readonly #sink: PageSink;
  readonly #whenOurs: FetcherOptions['whenOurs'];
  readonly #chunkPages: number;
  readonly #pieceChunks: number;
  /** The fetch under way for each chunk. */
  readonly #chunks = new Map<number, Fetch>();
  readonly #fetches = new Set<Fetch>();
  /** Ends of the fetches, with what they brought in the cache. Never reject. */
  readonly #keeping = new Set<Promise<void>>();
  readonly #ahead = new Semaphore(AHEAD_PIECES_MAX);

  constructor({ layout, sink, whenOurs }: FetcherOptions) {
    this.#layout = layout;
    this.#sink = sink;
    this.#whenOurs = whenOurs;
    this.#chunkPages = Math.max(1, layout.fetchBytes / PAGE_BYTES);
    const pieceBytes = Math.max(layout.fetchBytes, Math.min(PIECE_BYTES_MAX, layout.blockSizeBytes));
    this.#pieceChunks = Math.max(1, Math.floor(pieceBytes / (this.#chunkPages * PAGE_BYTES)));
  }

  /** Fetches that have not ended. */
  get underWay(): number {
    return this.#fetches.size;
  }

  /** Puts pages [first, end) as they are in the bucket into `target`, one after another from `at` on. */
  async fetch(first: number, end: number, target: Buffer, at: number): Promise<void> {
    const copies: Promise<void>[] = [];
    for (const { fetch, from, to } of this.#cover(first, end, 'demand')) {
      copies.push(
        fetch.bytes.then((bytes) => {
          const skip = (from - fetch.firstChunk * this.#chunkPages) * PAGE_BYTES;
          bytes.copy(target, at + (from - first) * PAGE_BYTES, skip, skip + (to - from) * PAGE_BYTES);
        }),
      );
    }
    for (const settled of await Promise.allSettled(copies)) if (settled.status === 'rejected') throw settled.reason;
  }

  /** Brings pages [first, end) into the cache. Never rejects: whoever reads them finds out. */
  async ahead(first: number, end: number, signal: AbortSignal): Promise<void> {
    const pieces: Promise<void>[] = [];
    const piecePages = this.#pieceChunks * this.#chunkPages;
    for (let from = first; from < end; ) {
      const to = Math.min(end, (Math.floor(from / piecePages) + 1) * piecePages);
      const [pieceFrom, pieceTo] = [from, to];
      pieces.push(
        this.#ahead.run(async () => {
          await Promise.allSettled(this.#cover(pieceFrom, pieceTo, 'ahead').map(({ fetch }) => fetch.bytes));
        }, signal),
      );
      from = to;
    }
    await Promise.allSettled(pieces);
  }

  /** Pages [first, end) have been written to the bucket: what is being fetched of them may be older. */
  supersede(first: number, end: number): void {
    for (const fetch of this.#fetches) {
      const from = Math.max(first, fetch.firstChunk * this.#chunkPages);
      const to = Math.min(end, fetch.endChunk * this.#chunkPages);
      if (from >= to) continue;
      fetch.superseded ??= new Set();
      for (let page = from; page < to; page++) fetch.superseded.add(page);
      for (let chunk = fetch.firstChunk; chunk < fetch.endChunk; chunk++) this.#forget(chunk, fetch);
    }
  }

  /** Resolves once nothing is being fetched. */
  async idle(): Promise<void> {
    while (this.#keeping.size > 0) await Promise.all(this.#keeping);
  }

  /** Fetches that together have pages [first, end), with the part of each: those under way are joined. */
  #cover(first: number, end: number, kind: 'demand' | 'ahead'): { fetch: Fetch; from: number; to: number }[] {
    const parts: { fetch: Fetch; from: number; to: number }[] = [];
    const endChunk = Math.ceil(end / this.#chunkPages);
    for (let chunk = Math.floor(first / this.#chunkPages); chunk < endChunk; ) {
      const fetch = this.#chunks.get(chunk) ?? this.#begin(chunk, endChunk, kind);
      const from = Math.max(first, chunk * this.#chunkPages);
      const to = Math.min(end, fetch.endChunk * this.#chunkPages);
      parts.push({ fetch, from, to });
      chunk = fetch.endChunk;
    }
    return parts;
  }

  /** Fetches from `chunk` on up to `end`, a chunk that is being fetched, or the end of the piece. */
  #begin(chunk: number, end: number, kind: 'demand' | 'ahead'): Fetch {
    const pieceEnd = (Math.floor(chunk / this.#pieceChunks) + 1) * this.#pieceChunks;
    let endChunk = chunk + 1;
    while (endChunk < end && endChunk < pieceEnd && !this.#chunks.has(endChunk)) endChunk++;
    const offset = chunk * this.#chunkPages * PAGE_BYTES;
    const length = Math.min(endChunk * this.#chunkPages * PAGE_BYTES, this.#layout.sizeBytes) - offset;
    const fetch: Fetch = {
      firstChunk: chunk,
      endChunk,
      bytes: this.#read(offset, length),
      superseded: null,
    };
    this.#fetches.add(fetch);
    for (let each = chunk; each < endChunk; each++) this.#chunks.set(each, fetch);
    const keeping = this.#keep(fetch, kind).finally(() => this.#keeping.delete(keeping));
    this.#keeping.add(keeping);
    return fetch;
  }

  /**
   * Not behind the upload that is under way: whatever it changes is dirty here, and is not taken from these bytes. Whether the
   * volume is ours is asked after the reading: bytes that another writer may have changed are neither answered nor kept.
   */
  #read(offset: number, length: number): Promise<Buffer> {
    return this.#whenOurs(this.#layout.peek(offset, length));
  }

  /** Ends the fetch once its bytes can be had from the cache, so that nobody fetches them again in between. */
  async #keep(fetch: Fetch, kind: 'demand' | 'ahead'): Promise<void> {
    try {
      await this.#insert(fetch, await fetch.bytes, kind);
    } catch {
      // Told to those who wait for the bytes.
    } finally {
      this.#fetches.delete(fetch);
      for (let chunk = fetch.firstChunk; chunk < fetch.endChunk; chunk++) this.#forget(chunk, fetch);
    }
  }

  async #insert(fetch: Fetch, bytes: Buffer, kind: 'demand' | 'ahead'): Promise<void> {
    const first = fetch.firstChunk * this.#chunkPages;
    const { superseded } = fetch;
    const pages = Math.floor(bytes.length / PAGE_BYTES);
    if (superseded === null) {
      await this.#sink.insert(first, bytes.subarray(0, pages * PAGE_BYTES), kind);
      return;
    }
    const inserts: Promise<void>[] = [];
    for (let from = 0; from < pages; ) {
      let to = from;
      while (to < pages && !superseded.has(first + to)) to++;
      if (to > from)
        inserts.push(this.#sink.insert(first + from, bytes.subarray(from * PAGE_BYTES, to * PAGE_BYTES), kind));
      from = Math.max(to, from) + 1;
    }
    await Promise.all(inserts);
  }

  #forget(chunk: number, fetch: Fetch): void {
    if (this.#chunks.get(chunk) === fetch) this.#chunks.delete(chunk);
  }
}
