/** How fast a counter grows. */

export class Rate {
  #before: number | null = null;

  /** A second, since the last call; null at the first one. A counter that was begun anew counts from 0. */
  next(total: number, elapsedMs: number): number | null {
    const grown = this.grown(total);
    return grown === null || elapsedMs <= 0 ? null : (grown * 1000) / elapsedMs;
  }

  /** How much it has grown since the last call; null at the first one. */
  grown(total: number): number | null {
    const before = this.#before;
    this.#before = total;
    if (before === null) return null;
    return total >= before ? total - before : total;
  }
}
