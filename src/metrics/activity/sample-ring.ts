/** The last so many samples of several series, in typed arrays of fixed size. */

/** Digits that a sample keeps where it is told: what a plot can show. */
const DIGITS = 4;

export class SampleRing<S extends string> {
  readonly #names: readonly S[];
  readonly #capacity: number;
  readonly #values: Float32Array;
  #count = 0;

  constructor(names: readonly S[], capacity: number) {
    this.#names = names;
    this.#capacity = capacity;
    this.#values = new Float32Array(names.length * capacity).fill(Number.NaN);
  }

  /** Null: not known at that time. */
  push(sample: Readonly<Record<S, number | null>>): void {
    const at = this.#count % this.#capacity;
    this.#names.forEach((name, row) => {
      this.#values[row * this.#capacity + at] = sample[name] ?? Number.NaN;
    });
    this.#count++;
  }

  /** Of each series, the oldest first; all are equally long. */
  toArrays(): Record<S, (number | null)[]> {
    const length = Math.min(this.#count, this.#capacity);
    const first = this.#count - length;
    const entries = this.#names.map((name, row) => {
      const values = Array.from({ length }, (_, index) =>
        rounded(this.#values[row * this.#capacity + ((first + index) % this.#capacity)] as number),
      );
      return [name, values] as const;
    });
    return Object.fromEntries(entries) as Record<S, (number | null)[]>;
  }

  /** The mean of the last `count` samples that are known, or null where none is. */
  meanOfLast(name: S, count: number): number | null {
    const row = this.#names.indexOf(name);
    let sum = 0;
    let known = 0;
    for (let at = Math.max(0, this.#count - Math.min(count, this.#capacity)); at < this.#count; at++) {
      const value = this.#values[row * this.#capacity + (at % this.#capacity)] as number;
      if (Number.isNaN(value)) continue;
      sum += value;
      known++;
    }
    return known === 0 ? null : sum / known;
  }
}

function rounded(value: number): number | null {
  return Number.isNaN(value) ? null : Number(value.toPrecision(DIGITS));
}
