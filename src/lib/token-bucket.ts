/** Holds a flow to a number of units per second, by waiting. */
import type { Clock } from './clock.ts';

/**
 * A token bucket kept as the moment from which it is out of debt. Those who reserve wait for those before them, so it is
 * first come, first served, with no queue to hold; the callers bound how many wait.
 */
export class TokenBucket {
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
    const waitMs = this.#debtMs();
    this.charge(units);
    if (waitMs <= 0) return;
    try {
      await this.#clock.sleep(waitMs, signal);
    } catch (error) {
      this.charge(-units);
      throw error;
    }
  }

  /** Another rate for what is reserved from now on, and for what those who come later have to wait for. */
  setRate(unitsPerSecond: number): void {
    const unitsPerMs = unitsPerSecond / 1000;
    const debtMs = this.#debtMs();
    if (debtMs > 0) this.#debtFreeAtMs += debtMs * (this.#unitsPerMs / unitsPerMs - 1);
    this.#unitsPerMs = unitsPerMs;
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

  #debtMs(): number {
    return this.#debtFreeAtMs - this.#clock.now();
  }
}
