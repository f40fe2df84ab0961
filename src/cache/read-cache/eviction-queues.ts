/**
 * Which line has to go: S3-FIFO (Yang et al., "FIFO queues are all you need for cache eviction", SOSP 2023). New lines are on
 * probation; those used again before their turn comes go to the main queue, and a scan goes by without touching that. A
 * line that comes back soon after it had to go is known by its fingerprint, and goes to the main queue at once.
 */
import { indexOf, scatter } from './geometry.ts';

const NONE = -1;
const MAIN = 0x80;
const USES_MASK = 0x03;
const USES_MAX = 3;
const PROBATION_SHARE = 0.1;
/** Lines looked at for one that has to go: it has to be found within a bounded time. */
const STEPS_MAX = 256;

class Queue {
  first = NONE;
  last = NONE;
  length = 0;
}

export interface EvictionOptions {
  readonly slots: number;
  lineAt(slot: number): number;
  /** It cannot go now. */
  isBusy(slot: number): boolean;
}

export class EvictionQueues {
  readonly #options: EvictionOptions;
  readonly #probation = new Queue();
  readonly #main = new Queue();
  readonly #probationSlots: number;
  readonly #next: Int32Array;
  readonly #previous: Int32Array;
  /** Of each slot: whether it is in the main queue, and how often it was used lately. */
  readonly #states: Uint8Array;
  readonly #ghosts: Uint32Array;

  constructor(options: EvictionOptions) {
    const { slots } = options;
    this.#options = options;
    this.#probationSlots = Math.max(1, Math.floor(slots * PROBATION_SHARE));
    this.#next = new Int32Array(slots);
    this.#previous = new Int32Array(slots);
    this.#states = new Uint8Array(slots);
    this.#ghosts = new Uint32Array(slots);
  }

  /** For the index. */
  stateAt(slot: number): number {
    return this.#states[slot] as number;
  }

  /** `wanted`: somebody waits for the line, so that coming back says something about it. */
  add(slot: number, line: number, wanted: boolean): void {
    this.restore(slot, wanted && this.#takeGhost(line) ? MAIN : 0);
  }

  /** Adds the slot with the state it had. */
  restore(slot: number, state: number): void {
    this.#states[slot] = state & (MAIN | USES_MASK);
    this.#append(this.#queueOf(slot), slot);
  }

  use(slot: number): void {
    const state = this.#states[slot] as number;
    if ((state & USES_MASK) < USES_MAX) this.#states[slot] = state + 1;
  }

  remove(slot: number): void {
    this.#unlink(this.#queueOf(slot), slot);
  }

  /** Removes the slot whose turn it is, or returns -1 where none can go. */
  evict(): number {
    for (let step = 0; step < STEPS_MAX; step++) {
      const fromProbation = this.#probation.length >= this.#probationSlots || this.#main.length === 0;
      const queue = fromProbation && this.#probation.length > 0 ? this.#probation : this.#main;
      const slot = queue.first;
      if (slot === NONE) return NONE;
      this.#unlink(queue, slot);
      if (this.#options.isBusy(slot) || this.#staysFor(slot)) {
        this.#append(this.#queueOf(slot), slot);
        continue;
      }
      if (queue === this.#probation) this.#addGhost(this.#options.lineAt(slot));
      return slot;
    }
    return this.#evictAny();
  }

  clear(): void {
    this.#ghosts.fill(0);
  }

  /** Whether its uses spare it this time; they are used up by that. */
  #staysFor(slot: number): boolean {
    const state = this.#states[slot] as number;
    if ((state & USES_MASK) === 0) return false;
    this.#states[slot] = (state & MAIN) === 0 ? MAIN : state - 1;
    return true;
  }

  /** The next that is not busy, whatever its uses. */
  #evictAny(): number {
    for (const queue of [this.#probation, this.#main]) {
      let slot = queue.first;
      for (let step = 0; slot !== NONE && step < STEPS_MAX; step++, slot = this.#next[slot] as number) {
        if (this.#options.isBusy(slot)) continue;
        this.#unlink(queue, slot);
        return slot;
      }
    }
    return NONE;
  }

  #queueOf(slot: number): Queue {
    return ((this.#states[slot] as number) & MAIN) === 0 ? this.#probation : this.#main;
  }

  #append(queue: Queue, slot: number): void {
    this.#next[slot] = NONE;
    this.#previous[slot] = queue.last;
    if (queue.last === NONE) queue.first = slot;
    else this.#next[queue.last] = slot;
    queue.last = slot;
    queue.length++;
  }

  #unlink(queue: Queue, slot: number): void {
    const next = this.#next[slot] as number;
    const previous = this.#previous[slot] as number;
    if (previous === NONE) queue.first = next;
    else this.#next[previous] = next;
    if (next === NONE) queue.last = previous;
    else this.#previous[next] = previous;
    queue.length--;
  }

  #addGhost(line: number): void {
    const hash = scatter(line);
    this.#ghosts[indexOf(hash, this.#ghosts.length)] = fingerprint(hash);
  }

  #takeGhost(line: number): boolean {
    const hash = scatter(line);
    const at = indexOf(hash, this.#ghosts.length);
    if (this.#ghosts[at] !== fingerprint(hash)) return false;
    this.#ghosts[at] = 0;
    return true;
  }
}

/** Never 0, which is no line. Two lines with the same one cost a place in the wrong queue, no more. */
function fingerprint(hash: number): number {
  return hash === 0 ? 1 : hash;
}
