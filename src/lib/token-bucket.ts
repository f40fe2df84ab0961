/** Holds a flow to a number of units per second, by waiting. */
import type { Clock } from './clock.ts';

interface Turn {
  atMs: number;
  /** It comes at another time. */
  readonly moved: () => void;
}

/**
 * A token bucket kept as the moment from which it is out of debt. Those who reserve wait for those before them, so it is
 * first come, first served, with no queue to hold; the callers bound how many wait.
 */
export class TokenBucket {
  /** Of those who wait, when their turn comes. */
  readonly #turns = new Set<Turn>();
  readonly #clock: Clock;
  #unitsPerMs: number;
  readonly #burstMs: number;
  #debtFreeAtMs: number;

  /** `burstMs`: how much unused time is saved up for a burst. */
  constructor(clock: Clock, unitsPerSecond: number, burstMs = 1000) {
    if (!(unitsPerSecond > 0)) throw new RangeError(`a rate must be positive, not ${unitsPerSecond}`);
    this.#clock = clock;
    this.#unitsPerMs = unitsPerSecond / 1000;
    this.#burstMs = burstMs;
    this.#debtFreeAtMs = clock.now() - burstMs;
  }

  /**
   * Takes `units` and waits until those before it are paid for: one request larger than the burst passes, and the next
   * pays. Rejects with CANCELLED, giving the units back, when the signal aborts.
   */
  async reserve(units: number, signal?: AbortSignal): Promise<void> {
    const atMs = this.#debtFreeAtMs;
    this.charge(units);
    try {
      await this.#sleepUntil(atMs, signal);
    } catch (error) {
      this.charge(-units);
      throw error;
    }
  }

  /** Another rate from now on, also for what has been reserved and is still waited for. Infinity: there is none. */
  setRate(unitsPerSecond: number): void {
    const unitsPerMs = unitsPerSecond / 1000;
    if (unitsPerMs === this.#unitsPerMs) return;
    const nowMs = this.#clock.now();
    const ratio = this.#unitsPerMs / unitsPerMs;
    const move = (atMs: number): number => (atMs > nowMs ? nowMs + (atMs - nowMs) * ratio : atMs);
    this.#unitsPerMs = unitsPerMs;
    this.#debtFreeAtMs = move(this.#debtFreeAtMs);
    for (const turn of this.#turns) {
      turn.atMs = move(turn.atMs);
      turn.moved();
    }
  }

  get inDebt(): boolean {
    return this.#debtMs() > 0;
  }

  /** Waits until what was charged so far is paid for, taking nothing. */
  async settle(signal?: AbortSignal): Promise<void> {
    for (let debtMs = this.#debtMs(); debtMs > 0; debtMs = this.#debtMs()) await this.#clock.sleep(debtMs, signal);
  }

  /** Takes units whose number is known only now; those who come later wait for them. */
  charge(units: number): void {
    const earliest = this.#clock.now() - this.#burstMs;
    this.#debtFreeAtMs = Math.max(this.#debtFreeAtMs, earliest) + units / this.#unitsPerMs;
  }

  async #sleepUntil(atMs: number, signal: AbortSignal | undefined): Promise<void> {
    let moved = new AbortController();
    const turn = { atMs, moved: () => moved.abort() };
    this.#turns.add(turn);
    try {
      for (let waitMs = atMs - this.#clock.now(); waitMs > 0; waitMs = turn.atMs - this.#clock.now()) {
        moved = new AbortController();
        const until = signal === undefined ? moved.signal : AbortSignal.any([moved.signal, signal]);
        const slept = await this.#clock.sleep(waitMs, until).then(
          () => true,
          (error: unknown) => {
            if (!moved.signal.aborted || signal?.aborted) throw error;
            return false;
          },
        );
        if (slept) return;
      }
    } finally {
      this.#turns.delete(turn);
    }
  }

  #debtMs(): number {
    return this.#debtFreeAtMs - this.#clock.now();
  }
}
