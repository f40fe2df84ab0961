/**
 * Turns, so that who has much to do leaves room for others. What a connection's requests cost is charged to it, and once that
 * is a turn's worth, a few tenths of a millisecond's work, it takes no further request before its next turn. Between one
 * look at all sockets and the next only a few of those that wait go on: volumes one after the other, and of each volume whoever
 * has waited longest. So a client that asks for little never waits here, and for a few turns of others at most, however many
 * they are and however much they want.
 */

/** A request costs as much as its payload, and this besides: of small reads 32 are a turn. */
export const REQUEST_COST = 4 * 1024;
export const TURN_COST = 256 * 1024;
/** So many go on between one look at all sockets and the next. */
const TURNS_AT_ONCE = 2;

/** What a connection has used of its turn. */
export class Turn {
  #spent = 0;

  get isOver(): boolean {
    return this.#spent >= TURN_COST;
  }

  spend(cost: number): void {
    this.#spent += cost;
  }

  /** Its next turn has come. Where more than a turn's worth was spent at once, that one is over as it begins. */
  next(): void {
    this.#spent = Math.max(0, this.#spent - TURN_COST);
  }
}

interface Waiting {
  readonly turn: Turn;
  readonly goOn: () => void;
}

export class Turns {
  /** Of each volume those that wait; the volume whose turn is next comes first. */
  readonly #lines = new Map<object | undefined, Waiting[]>();
  #scheduled = false;

  /**
   * Calls `goOn` once, not before all sockets have been looked at, when a turn of this connection has come that is not over at
   * once. It must not throw. `volume` is undefined for who has not chosen one yet.
   */
  wait(volume: object | undefined, turn: Turn, goOn: () => void): void {
    this.#add(volume, { turn, goOn });
    this.#schedule();
  }

  #add(volume: object | undefined, waiting: Waiting): void {
    const line = this.#lines.get(volume);
    if (line === undefined) this.#lines.set(volume, [waiting]);
    else line.push(waiting);
  }

  #schedule(): void {
    if (this.#scheduled || this.#lines.size === 0) return;
    this.#scheduled = true;
    setImmediate(() => {
      this.#scheduled = false;
      this.#run();
      this.#schedule();
    });
  }

  #run(): void {
    for (let going = 0; going < TURNS_AT_ONCE; ) {
      const [next] = this.#lines;
      if (next === undefined) return;
      const [volume, line] = next;
      const first = line.shift();
      this.#lines.delete(volume);
      if (line.length > 0) this.#lines.set(volume, line);
      if (first === undefined) continue;
      first.turn.next();
      if (first.turn.isOver) {
        this.#add(volume, first);
      } else {
        going++;
        first.goOn();
      }
    }
  }
}
