/** Time driven by hand: one world of time, and in it a clock for each process, which can stand still, sleep or be wrong. */
import { setTimeout as pause, setImmediate as turn } from 'node:timers/promises';
import type { Clock } from '../../src/lib/clock.ts';
import { StorageError } from '../../src/lib/errors.ts';

/** What waits for a disk or a socket of the machine's own may take this long, however busy the machine is. */
const PATIENCE_MS = 20_000;

interface Alarm {
  atMs: number;
  readonly ring: () => void;
}

/** Lets everything run that waits for nothing but its turn. */
export async function settle(turns = 3): Promise<void> {
  for (let at = 0; at < turns; at++) await turn();
}

/** The world's time. Alarms ring in the order of their times, and among equals in the order they were set. */
export class VirtualTime {
  #nowMs = 0;
  readonly #alarms = new Set<Alarm>();

  get nowMs(): number {
    return this.#nowMs;
  }

  /** Alarms that have not rung. */
  get pending(): number {
    return this.#alarms.size;
  }

  /** Returns how to call it off. */
  setAlarm(afterMs: number, ring: () => void): () => void {
    const alarm = { atMs: this.#nowMs + Math.max(0, afterMs), ring };
    this.#alarms.add(alarm);
    return () => void this.#alarms.delete(alarm);
  }

  /** Lets `ms` pass, alarm by alarm. */
  async advance(ms: number): Promise<void> {
    const endMs = this.#nowMs + ms;
    await settle();
    for (let next = this.#next(); next !== undefined && next.atMs <= endMs; next = this.#next()) await this.#ring(next);
    this.#nowMs = endMs;
    await settle();
  }

  /** Lets time pass to the next alarm, and that one ring. False, with no time passed, where there is none by `endMs`. */
  async step(endMs = Infinity): Promise<boolean> {
    const next = this.#next();
    if (next === undefined || next.atMs > endMs) return false;
    await this.#ring(next);
    return true;
  }

  /** Lets time pass, from alarm to alarm, until the work has settled. Rejects where it waits for nothing that will come. What happens outside of virtual time (files, sockets) is waited for. */
  async run<T>(work: Promise<T>, maxMs = 3_600_000): Promise<T> {
    let settled = false;
    const done = (): void => {
      settled = true;
    };
    work.then(done, done);
    const endMs = this.#nowMs + maxMs;
    for (let idleSince = performance.now(); ; ) {
      await settle();
      if (settled) return work;
      if (await this.step(endMs)) {
        idleSince = performance.now();
        continue;
      }
      const idleMs = performance.now() - idleSince;
      if (idleMs > PATIENCE_MS) throw new Error(`the work has not ended after ${maxMs} ms of virtual time`);
      if (idleMs > 5) await pause(1);
    }
  }

  async #ring(alarm: Alarm): Promise<void> {
    this.#alarms.delete(alarm);
    this.#nowMs = Math.max(this.#nowMs, alarm.atMs);
    alarm.ring();
    await settle();
  }

  #next(): Alarm | undefined {
    let first: Alarm | undefined;
    for (const alarm of this.#alarms) if (first === undefined || alarm.atMs < first.atMs) first = alarm;
    return first;
  }
}

interface Sleeper {
  /** By the clock's own monotonic time. */
  readonly atMs: number;
  readonly wake: () => void;
  cancelAlarm: () => void;
}

/** One process's clock. `time.advance` moves it, unless its machine sleeps. */
export class VirtualClock implements Clock {
  readonly time: VirtualTime;
  #wallOffsetMs: number;
  /** How long the machine has been suspended so far: the monotonic clock does not count it. */
  #suspendedMs = 0;
  #suspendedSinceMs: number | null = null;
  #stopped: PromiseWithResolvers<void> | null = null;
  readonly #sleepers = new Set<Sleeper>();

  constructor(time = new VirtualTime(), wallOffsetMs = Date.UTC(2026, 0, 1)) {
    this.time = time;
    this.#wallOffsetMs = wallOffsetMs;
  }

  now(): number {
    return (this.#suspendedSinceMs ?? this.time.nowMs) - this.#suspendedMs;
  }

  date(): Date {
    return new Date(this.time.nowMs + this.#wallOffsetMs);
  }

  sleep(ms: number, signal?: AbortSignal): Promise<void> {
    if (signal?.aborted) return Promise.reject(cancelled(signal));
    return new Promise((resolve, reject) => {
      const onAbort = (): void => {
        this.#sleepers.delete(sleeper);
        sleeper.cancelAlarm();
        reject(cancelled(signal));
      };
      const sleeper: Sleeper = {
        // As setTimeout has it: whole milliseconds, and never none.
        atMs: this.now() + Math.max(1, Math.trunc(ms)),
        wake: () => {
          this.#sleepers.delete(sleeper);
          signal?.removeEventListener('abort', onAbort);
          resolve();
        },
        cancelAlarm: () => {},
      };
      signal?.addEventListener('abort', onAbort, { once: true });
      this.#sleepers.add(sleeper);
      this.#arm(sleeper);
    });
  }

  /** Sleeps that have neither ended nor been cancelled. */
  get sleeping(): number {
    return this.#sleepers.size;
  }

  advance(ms: number): Promise<void> {
    return this.time.advance(ms);
  }

  run<T>(work: Promise<T>, maxMs?: number): Promise<T> {
    return this.time.run(work, maxMs);
  }

  /** Somebody sets the machine's clock. */
  shiftWallClock(ms: number): void {
    this.#wallOffsetMs += ms;
  }

  /** The process stands still (SIGSTOP, a long collection of garbage): time passes, and nothing of it runs. */
  stop(): void {
    this.#stopped ??= Promise.withResolvers();
  }

  /** It goes on: answers that came meanwhile are seen first, and only then its timers go off. */
  async continue(): Promise<void> {
    const stopped = this.#stopped;
    this.#stopped = null;
    stopped?.resolve();
    await settle(1);
    for (const sleeper of this.#sleepers) this.#arm(sleeper);
    await settle();
  }

  /** Resolves once the process runs. */
  async running(): Promise<void> {
    while (this.#stopped !== null) await this.#stopped.promise;
  }

  /** The machine goes to sleep: nothing of the process runs, and its monotonic clock stands still. */
  suspend(): void {
    this.#suspendedSinceMs ??= this.time.nowMs;
    this.stop();
    for (const sleeper of this.#sleepers) sleeper.cancelAlarm();
  }

  resume(): Promise<void> {
    this.#suspendedMs += this.time.nowMs - (this.#suspendedSinceMs ?? this.time.nowMs);
    this.#suspendedSinceMs = null;
    return this.continue();
  }

  #arm(sleeper: Sleeper): void {
    sleeper.cancelAlarm();
    sleeper.cancelAlarm = this.time.setAlarm(sleeper.atMs - this.now(), () => {
      if (this.#stopped === null) sleeper.wake();
    });
  }
}

function cancelled(signal: AbortSignal | undefined): StorageError {
  return new StorageError('CANCELLED', 'the wait was cancelled', { cause: signal?.reason });
}
