/** The content of a simulated file: what was never written takes no memory and reads as zeros. */

/** What space is counted in, as on most filesystems. */
export const UNIT_BYTES = 4096;

export class SparseBytes {
  #sizeBytes = 0;
  readonly #chunks = new Map<number, Buffer>();
  /** Units that have space on the disk: written or set aside. */
  readonly #units = new Set<number>();

  get sizeBytes(): number {
    return this.#sizeBytes;
  }

  get units(): number {
    return this.#units.size;
  }

  copy(): SparseBytes {
    const copy = new SparseBytes();
    copy.#sizeBytes = this.#sizeBytes;
    for (const [index, chunk] of this.#chunks) copy.#chunks.set(index, Buffer.from(chunk));
    for (const unit of this.#units) copy.#units.add(unit);
    return copy;
  }

  /** Fills what lies before the end and returns how much that is. */
  read(target: Buffer, position: number): number {
    const length = Math.max(0, Math.min(target.length, this.#sizeBytes - position));
    for (let done = 0; done < length; ) {
      const at = position + done;
      const from = at % UNIT_BYTES;
      const count = Math.min(length - done, UNIT_BYTES - from);
      const chunk = this.#chunks.get(Math.floor(at / UNIT_BYTES));
      if (chunk === undefined) target.fill(0, done, done + count);
      else chunk.copy(target, done, from, from + count);
      done += count;
    }
    return length;
  }

  /** Leaves the size as it is, also where it writes beyond. */
  put(source: Buffer, position: number): void {
    for (let done = 0; done < source.length; ) {
      const at = position + done;
      const from = at % UNIT_BYTES;
      const count = Math.min(source.length - done, UNIT_BYTES - from);
      source.copy(this.#chunkAt(Math.floor(at / UNIT_BYTES)), from, done, done + count);
      done += count;
    }
  }

  resize(sizeBytes: number): void {
    const end = Math.ceil(sizeBytes / UNIT_BYTES);
    for (const index of this.#chunks.keys()) if (index >= end) this.#chunks.delete(index);
    for (const unit of this.#units) if (unit >= end) this.#units.delete(unit);
    const last = this.#chunks.get(Math.floor(sizeBytes / UNIT_BYTES));
    last?.fill(0, sizeBytes % UNIT_BYTES);
    this.#sizeBytes = sizeBytes;
  }

  /** How many units between the positions have no space yet. */
  unitsMissing(position: number, endPosition: number): number {
    let missing = 0;
    for (let unit = Math.floor(position / UNIT_BYTES); unit * UNIT_BYTES < endPosition; unit++) {
      if (!this.#units.has(unit)) missing++;
    }
    return missing;
  }

  setAside(sizeBytes: number): void {
    for (let unit = 0; unit * UNIT_BYTES < sizeBytes; unit++) this.#units.add(unit);
  }

  flipBit(position: number, bit: number): void {
    const chunk = this.#chunks.get(Math.floor(position / UNIT_BYTES));
    const at = position % UNIT_BYTES;
    if (chunk !== undefined) chunk[at] = (chunk[at] ?? 0) ^ (1 << bit);
  }

  #chunkAt(index: number): Buffer {
    let chunk = this.#chunks.get(index);
    if (chunk === undefined) {
      chunk = Buffer.alloc(UNIT_BYTES);
      this.#chunks.set(index, chunk);
      this.#units.add(index);
    }
    return chunk;
  }
}
