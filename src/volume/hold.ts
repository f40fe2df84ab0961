/** Holding a volume: claims made in order, renewed in the background, and the fence that follows from them. */
import { setMaxListeners } from 'node:events';
import type { Clock } from '../lib/clock.ts';
import { withDeadline } from '../lib/deadline.ts';
import { describeError, isStorageError, StorageError } from '../lib/errors.ts';
import type { Log } from '../lib/log.ts';
import type { Claim } from './claim.ts';
import type { WriteFence } from './fence.ts';

/** Claims are renewed at a third of their life, and tried again sooner after a failure. */
const RENEWALS_PER_LIFE = 3;
const RETRIES_PER_LIFE = 12;
/** How often it is looked whether the permission has ended. */
const CHECKS_PER_LIFE = 30;
/** We stop writing before others may start: what is in flight then has this share of the life to arrive. */
const PERMITTED_SHARE = 0.8;

export interface HoldOptions {
  readonly claims: readonly Claim[];
  readonly durationMs: number;
  readonly clock: Clock;
  readonly log: Log;
  /** Called once, when another writer has taken the volume. */
  readonly onLost: (error: StorageError) => void;
}

export class Hold implements WriteFence {
  readonly #options: HoldOptions;
  readonly #stop = new AbortController();
  #lapse = new AbortController();
  #waiters: { readonly resolve: () => void; readonly reject: (error: StorageError) => void }[] = [];
  #lost: StorageError | null = null;
  #confirmedAtMs = Number.NEGATIVE_INFINITY;
  #confirmedAtDateMs = Number.NEGATIVE_INFINITY;
  #unsettledAtMs = Number.NEGATIVE_INFINITY;
  #running: Promise<unknown> = Promise.resolve();

  constructor(options: HoldOptions) {
    this.#options = options;
    setMaxListeners(0, this.#lapse.signal);
  }

  get lost(): StorageError | null {
    return this.#lost;
  }

  get lapse(): AbortSignal {
    return this.#lapse.signal;
  }

  /** Milliseconds since the claims were last confirmed. */
  get confirmedAgoMs(): number {
    return this.#options.clock.now() - this.#confirmedAtMs;
  }

  get valid(): boolean {
    return (
      this.#lost === null && !this.#stop.signal.aborted && !this.#lapse.signal.aborted && this.#permittedForMs() > 0
    );
  }

  permitted(): Promise<void> {
    if (this.#lost !== null) return Promise.reject(this.#lost);
    if (this.#stop.signal.aborted) return Promise.reject(new StorageError('CANCELLED', 'the volume has been released'));
    if (this.valid) return Promise.resolve();
    return new Promise((resolve, reject) => this.#waiters.push({ resolve, reject }));
  }

  noteUnsettled(): void {
    this.#unsettledAtMs = this.#options.clock.now();
  }

  /** Makes all claims, or none. */
  async acquire(signal: AbortSignal): Promise<void> {
    const made: Claim[] = [];
    const startedAt = this.#times();
    try {
      for (const claim of this.#options.claims) {
        await claim.acquire(signal);
        made.push(claim);
      }
      // An acquisition may take a whole life of waiting; what counts from is the last confirmation.
      if (this.#times().monotonicMs - startedAt.monotonicMs > this.#options.durationMs / RENEWALS_PER_LIFE)
        // As long as the store tries: there is no later attempt, as there is for those in the background.
        await this.#renew((claim) => claim.renew(signal));
      else this.#confirm(startedAt);
    } catch (error) {
      await this.#releaseClaims(made.toReversed(), false);
      throw error;
    }
    this.#running = Promise.all([this.#keepRenewing(), this.#watchLapse()]);
  }

  /**
   * Stops renewing and gives the claims up; with `erase` nothing of them stays. Nobody may be writing any more. Where a
   * write has ended without a clear answer less than a life ago, the claims are left to lapse, as by `abandon`.
   */
  async release({ erase = false } = {}): Promise<void> {
    if (this.#stop.signal.aborted) return;
    await this.#end();
    if (this.#lost !== null) return;
    const { claims, clock, durationMs, log } = this.#options;
    if (clock.now() - this.#unsettledAtMs < durationMs) {
      log.warn('a write that got no answer may still arrive: the lease is not released, it will lapse by itself');
      return;
    }
    await this.#releaseClaims(claims.toReversed(), erase);
  }

  /**
   * Cuts off whatever is being written and stops renewing, but leaves the claims to lapse by themselves: what was cut off
   * may still arrive, and nobody else may write before it has.
   */
  async abandon(): Promise<void> {
    if (!this.#stop.signal.aborted) await this.#end();
  }

  async #end(): Promise<void> {
    this.#stop.abort();
    this.#settleWaiters(new StorageError('CANCELLED', 'the volume has been released'));
    this.#lapse.abort(new StorageError('CANCELLED', 'the volume has been released'));
    await this.#running;
  }

  /** By both clocks: the monotonic one stands still while the machine sleeps, the other one may be set back. */
  #permittedForMs(): number {
    const permittedMs = this.#options.durationMs * PERMITTED_SHARE;
    const { monotonicMs, dateMs } = this.#times();
    return permittedMs - Math.max(monotonicMs - this.#confirmedAtMs, dateMs - this.#confirmedAtDateMs);
  }

  #times(): { readonly monotonicMs: number; readonly dateMs: number } {
    return { monotonicMs: this.#options.clock.now(), dateMs: this.#options.clock.date().getTime() };
  }

  async #keepRenewing(): Promise<void> {
    const { durationMs, clock, log } = this.#options;
    let failures = 0;
    while (!this.#stop.signal.aborted && this.#lost === null) {
      const pauseMs = durationMs / (failures === 0 ? RENEWALS_PER_LIFE : RETRIES_PER_LIFE);
      await clock.sleep(pauseMs, this.#stop.signal).catch(() => {});
      if (this.#stop.signal.aborted) return;
      try {
        await this.#renew((claim) =>
          withDeadline(clock, durationMs / RENEWALS_PER_LIFE, (signal) => claim.renew(signal), this.#stop.signal),
        );
        if (failures > 0) log.info('the lease is renewed again', { failures });
        failures = 0;
      } catch (error) {
        if (this.#stop.signal.aborted) return;
        if (isStorageError(error, 'FENCED')) return this.#lose(error);
        if (++failures === 1) log.warn('the lease could not be renewed; trying again', { error: describeError(error) });
      }
    }
  }

  async #renew(renew: (claim: Claim) => Promise<void>): Promise<void> {
    const startedAt = this.#times();
    for (const claim of this.#options.claims) await renew(claim);
    this.#confirm(startedAt);
  }

  /** The claims stood at `startedAt`, or later. */
  #confirm({ monotonicMs, dateMs }: { readonly monotonicMs: number; readonly dateMs: number }): void {
    this.#confirmedAtMs = monotonicMs;
    this.#confirmedAtDateMs = dateMs;
    if (this.#permittedForMs() <= 0) return;
    if (this.#lapse.signal.aborted) {
      this.#lapse = new AbortController();
      setMaxListeners(0, this.#lapse.signal);
      this.#options.log.info('the volume is confirmed to be still ours; writing goes on');
    }
    this.#settleWaiters(null);
  }

  /** Cuts off what is being written when the permission ends. */
  async #watchLapse(): Promise<void> {
    const { clock, log, durationMs } = this.#options;
    while (!this.#stop.signal.aborted && this.#lost === null) {
      const leftMs = this.#permittedForMs();
      if (leftMs <= 0 && !this.#lapse.signal.aborted) {
        log.warn('the lease has not been renewed in time; writing waits until it is', {
          sinceMs: Math.round(this.confirmedAgoMs),
        });
        this.#lapse.abort(new StorageError('CANCELLED', 'the lease lapsed'));
      }
      // Not all of it at once: a machine that was suspended learns what time it is only when its timers go off.
      const pauseMs = leftMs > 0 ? Math.min(leftMs, durationMs / CHECKS_PER_LIFE) : durationMs / CHECKS_PER_LIFE;
      await clock.sleep(pauseMs, this.#stop.signal).catch(() => {});
    }
  }

  #lose(error: StorageError): void {
    this.#lost = error;
    this.#lapse.abort(error);
    this.#settleWaiters(error);
    this.#options.onLost(error);
  }

  #settleWaiters(error: StorageError | null): void {
    for (const { resolve, reject } of this.#waiters.splice(0)) error === null ? resolve() : reject(error);
  }

  async #releaseClaims(claims: readonly Claim[], erase: boolean): Promise<void> {
    const { clock, durationMs, log } = this.#options;
    for (const claim of claims) {
      try {
        await withDeadline(clock, durationMs / RENEWALS_PER_LIFE, (signal) => claim.release({ erase }, signal));
      } catch (error) {
        log.warn('a claim on the volume could not be released; it will lapse by itself', {
          error: describeError(error),
        });
      }
    }
  }
}
