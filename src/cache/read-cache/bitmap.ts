/** A set of slots, a bit each. */

const WORD_BITS = 32;

export class Bitmap {
  readonly #size: number;
  readonly #words: Uint32Array;
  #count = 0;

  constructor(size: number) {
    this.#size = size;
    this.#words = new Uint32Array(Math.ceil(size / WORD_BITS));
  }

  get count(): number {
    return this.#count;
  }

  has(at: number): boolean {
    return (((this.#words[at >>> 5] as number) >>> (at & 31)) & 1) === 1;
  }

  add(at: number): void {
    const word = this.#words[at >>> 5] as number;
    const bit = 1 << (at & 31);
    if ((word & bit) !== 0) return;
    this.#words[at >>> 5] = word | bit;
    this.#count++;
  }

  delete(at: number): void {
    const word = this.#words[at >>> 5] as number;
    const bit = 1 << (at & 31);
    if ((word & bit) === 0) return;
    this.#words[at >>> 5] = word & ~bit;
    this.#count--;
  }

  clear(): void {
    this.#words.fill(0);
    this.#count = 0;
  }

  fill(): void {
    this.#words.fill(0xffffffff);
    const spare = this.#words.length * WORD_BITS - this.#size;
    if (spare > 0) this.#words[this.#words.length - 1] = 0xffffffff >>> spare;
    this.#count = this.#size;
  }

  /** The first one from `from` on, or -1. */
  next(from: number): number {
    if (this.#count === 0 || from >= this.#size) return -1;
    let index = from >>> 5;
    let word = (this.#words[index] as number) & (0xffffffff << (from & 31));
    while (word === 0) {
      if (++index === this.#words.length) return -1;
      word = this.#words[index] as number;
    }
    return index * WORD_BITS + 31 - Math.clz32(word & -word);
  }
}
