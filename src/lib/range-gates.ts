/** Keeps requests on overlapping ranges in order where some of them take effect piece by piece. */

interface Gate {
  readonly first: number;
  readonly end: number;
  readonly passed: Promise<void>;
}

/**
 * Work that `holds` its range makes everything that overlaps it and is asked for later wait until it is done. Other work
 * runs at once where nothing ahead of it holds; where it has to wait it holds its own range too, so that nothing overtakes it.
 */
export class RangeGates {
  readonly #gates = new Set<Gate>();

  /** `work` on [first, end). */
  run<T>(first: number, end: number, holds: boolean, work: () => Promise<T>): Promise<T> {
    const ahead: Promise<void>[] = [];
    for (const gate of this.#gates) if (gate.first < end && first < gate.end) ahead.push(gate.passed);
    if (ahead.length === 0 && !holds) return work();
    return this.#hold(first, end, ahead, work);
  }

  async #hold<T>(first: number, end: number, ahead: readonly Promise<void>[], work: () => Promise<T>): Promise<T> {
    const { promise, resolve } = Promise.withResolvers<void>();
    const gate: Gate = { first, end, passed: promise };
    this.#gates.add(gate);
    try {
      if (ahead.length > 0) await Promise.all(ahead);
      return await work();
    } finally {
      this.#gates.delete(gate);
      resolve();
    }
  }
}
