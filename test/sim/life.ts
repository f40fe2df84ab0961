/** One life of the volume's process: its clock, its disk and its bucket, and how it ends. */
import type { MemoryObjectStore } from '../../src/object/memory.ts';
import type { Random } from '../support/random.ts';
import type { SimDisk } from '../support/sim-disk.ts';
import { settle, VirtualClock, VirtualTime } from '../support/virtual-clock.ts';
import type { LifePlan, NaturePlan } from './plan.ts';
import { SimStore } from './sim-store.ts';
import type { Trace } from './trace.ts';

export interface LifeOptions {
  readonly number: number;
  readonly plan: LifePlan;
  readonly nature: NaturePlan;
  readonly random: Random;
  readonly trace: Trace;
  readonly bucket: MemoryObjectStore;
  /** Powers the disk up for this life. */
  readonly powerUp: (clock: VirtualClock, onCall: () => void) => SimDisk;
}

/** What waits for nothing but its turn has had it after so many turns without anything to wait for. */
const IDLE_TURNS = 50;

export class Life {
  readonly time = new VirtualTime();
  readonly clock = new VirtualClock(this.time);
  readonly disk: SimDisk;
  readonly store: SimStore;
  readonly #random: Random;
  readonly #trace: Trace;
  readonly #endAtMs: number;
  #callsLeft: number;
  #calls = 0;
  #dead = false;
  /** The volume is open. */
  isOpen = false;

  constructor(options: LifeOptions) {
    const { plan, nature, random, trace, bucket } = options;
    this.#random = random.fork();
    this.#trace = trace;
    trace.prefix = () => `${options.number} ${this.time.nowMs.toFixed(1)} `;
    const suddenly = plan.ending === 'crash' || plan.ending === 'kill' || plan.ending === 'crash and lose cache';
    this.#endAtMs = suddenly ? plan.endAfterMs : Infinity;
    this.#callsLeft = suddenly ? plan.endAfterCalls : Infinity;
    const onCall = (): void => this.#countCall();
    this.disk = options.powerUp(this.clock, onCall);
    this.store = new SimStore({
      inner: bucket,
      clock: this.clock,
      random: random.fork(),
      latencyMs: nature.storeLatencyMs,
      trace: trace.line,
      onCall,
    });
  }

  /** It is over: nothing that still runs of it counts, or has any effect. */
  get isDead(): boolean {
    return this.#dead;
  }

  end(): void {
    if (this.#dead) return;
    this.#trace.line('the end');
    this.#dead = true;
    this.disk.halt();
    this.store.halt();
    this.clock.stop();
  }

  /**
   * Lets time pass until the work has settled; null where the life ended before. Rejects as the work does, or where it has
   * not settled within `maxMs`.
   */
  async drive<T>(what: string, work: Promise<T>, maxMs: number): Promise<{ readonly value: T } | null> {
    let settled = false;
    const done = (): void => {
      settled = true;
    };
    work.then(done, done);
    const endMs = this.time.nowMs + maxMs;
    let calls = this.#calls;
    for (let idleTurns = 0; ; ) {
      await settle(1);
      // A disk without latency answers some turns later, and no time passes.
      if (calls !== this.#calls) idleTurns = 0;
      calls = this.#calls;
      if (this.#dead) return null;
      if (settled) return { value: await work };
      if (this.time.nowMs >= this.#endAtMs) {
        await settle(this.#random.below(4));
        this.end();
        continue;
      }
      if (await this.time.step(Math.min(endMs, this.#endAtMs))) {
        idleTurns = 0;
      } else if (++idleTurns > IDLE_TURNS) {
        if (this.#endAtMs < endMs) {
          this.end();
          continue;
        }
        throw new Error(`${what} hangs: it has not ended after ${(maxMs / 1000).toFixed(0)} s of virtual time`);
      }
    }
  }

  /** To be called with every call of the disk and the store: any of them may be the one that is never made. */
  #countCall(): void {
    this.#calls++;
    if (--this.#callsLeft === 0) this.end();
  }
}
