/**
 * Turns for connections that have much to do. What they do is cut into pieces of about a tenth of a millisecond, and between
 * one look at all sockets and the next only a few of them go on: so a client with little to do waits for a few pieces at
 * most, however many others there are and however much they want.
 */

const TURNS_AT_ONCE = 2;

export class Turns {
  readonly #waiting: (() => void)[] = [];
  #scheduled = false;

  /** Calls `turn` once, after those that wait already and not before all sockets have been looked at. It must not throw. */
  wait(turn: () => void): void {
    this.#waiting.push(turn);
    this.#schedule();
  }

  #schedule(): void {
    if (this.#scheduled) return;
    this.#scheduled = true;
    setImmediate(() => {
      this.#scheduled = false;
      for (const turn of this.#waiting.splice(0, TURNS_AT_ONCE)) turn();
      if (this.#waiting.length > 0) this.#schedule();
    });
  }
}
