/**
 * Requests that cannot be taken at once, because the log is full or nearly so, or because they come behind one that waits:
 * they are taken in the order they came. Those that need not wait never come here.
 */
import type { Clock } from '../lib/clock.ts';
import { StorageError } from '../lib/errors.ts';

/** Below this share of the log nothing is slowed. */
const SLOW_FROM_SHARE = 0.7;
/** What 64 KiB wait where the log is half way between that and full. */
const PAUSE_UNIT_MS = 0.5;
const PAUSE_UNIT_BYTES = 64 * 1024;
const PAUSE_MAX_MS = 1000;
/** So little is written per request at least, as far as slowing goes. */
const PAUSE_BYTES_MIN = 16 * 1024;

/** A request that takes effect in one or more steps. */
export interface IntakeJob {
  /** Bytes of the volume, half-open; empty for a flush. */
  readonly offset: number;
  readonly end: number;
  /** How much it adds to the log. */
  readonly bytes: number;
  /** Does as much as there is room for. True once everything is done. Throws where it has failed. */
  step(): boolean;
}

interface Waiting {
  readonly job: IntakeJob;
  readonly done: PromiseWithResolvers<void>;
}

export interface IntakeOptions {
  readonly clock: Clock;
  /** How full the log is, 0 to 1. */
  readonly fullness: () => number;
  /** Resolves when there may be more room than when it was called; rejects where the disk fails. */
  readonly room: (signal: AbortSignal) => Promise<void>;
}

/** The queue is bounded by the callers: each request in it is one that somebody waits for. */
export class Intake {
  readonly #options: IntakeOptions;
  readonly #queue: Waiting[] = [];
  readonly #stop = new AbortController();
  #pumping = false;
  /** Pauses too short for a timer, saved up. */
  #owedMs = 0;

  constructor(options: IntakeOptions) {
    this.#options = options;
  }

  get length(): number {
    return this.#queue.length;
  }

  /** Whether a request may be taken without queueing: nobody is ahead of it, and the log is not so full that it is slowed. */
  get isOpen(): boolean {
    return this.#queue.length === 0 && this.#options.fullness() < SLOW_FROM_SHARE;
  }

  /** Resolves once the job is done. */
  enqueue(job: IntakeJob): Promise<void> {
    const waiting: Waiting = { job, done: Promise.withResolvers<void>() };
    this.#queue.push(waiting);
    if (!this.#pumping) void this.#pump();
    return waiting.done.promise;
  }

  /** Whether anything that waits touches [offset, end): whoever reads that has to wait for its turn too. */
  overlaps(offset: number, end: number): boolean {
    return this.#queue.some(({ job }) => job.offset < end && offset < job.end);
  }

  /** Resolves once nothing waits. */
  async idle(): Promise<void> {
    await this.#queue.at(-1)?.done.promise.catch(() => {});
  }

  /** Those that wait are given up. */
  stop(): void {
    this.#stop.abort();
  }

  async #pump(): Promise<void> {
    this.#pumping = true;
    // In a turn of its own: the caller has not got its promise yet.
    await Promise.resolve();
    for (let head = this.#queue[0]; head !== undefined; head = this.#queue[0]) {
      try {
        await this.#perform(head.job);
        this.#queue.shift();
        head.done.resolve();
      } catch (error) {
        this.#queue.shift();
        head.done.reject(error);
      }
    }
    this.#pumping = false;
  }

  async #perform(job: IntakeJob): Promise<void> {
    const { clock, room } = this.#options;
    const pauseMs = this.#pauseMs(job.bytes);
    if (pauseMs >= 1) await clock.sleep(pauseMs, this.#stop.signal).catch(() => {});
    for (;;) {
      // Before each step: once it has been stopped, the log may be closed at any moment.
      if (this.#stop.signal.aborted) throw new StorageError('CANCELLED', 'the volume is being closed');
      if (job.step()) return;
      await room(this.#stop.signal);
    }
  }

  /** Grows without bound towards a full log, so that it is met at the speed of the uploads and not by a standstill. */
  #pauseMs(bytes: number): number {
    const fullness = this.#options.fullness();
    if (bytes === 0 || fullness <= SLOW_FROM_SHARE) return 0;
    const units = Math.max(bytes, PAUSE_BYTES_MIN) / PAUSE_UNIT_BYTES;
    const pauseMs = (PAUSE_UNIT_MS * units * (fullness - SLOW_FROM_SHARE)) / Math.max(1 - fullness, 0.001);
    this.#owedMs += pauseMs;
    if (this.#owedMs < 1) return 0;
    const owedMs = Math.min(this.#owedMs, PAUSE_MAX_MS);
    this.#owedMs = 0;
    return owedMs;
  }
}
