/**
 * The lease: a small object that only one writer can renew, because each renewal is a PUT conditional on the last one.
 * It is taken over only where it has not changed for a whole life by our own monotonic clock, so clocks need not agree.
 */
import { randomUUID } from 'node:crypto';
import type { Clock } from '../lib/clock.ts';
import { isStorageError, StorageError } from '../lib/errors.ts';
import type { Log } from '../lib/log.ts';
import type { ObjectStore } from '../object/object-store.ts';
import type { Claim, Claimant } from './claim.ts';
import { formatLease, type LeaseDocument, readLease } from './lease-document.ts';

/** How often a lease that may be dead is looked at during its life. */
const LOOKS_PER_LIFE = 6;
/** How often we lose the race for a lease before we believe that others are quicker. */
const RACES_MAX = 5;

/** Holders whose tokens are remembered: any of them may have died between taking the lease and setting its token. */
const TOKENS_MAX = 8;

/** Longer than the share of a life for which a holder may write after its last renewal. */
export const TAKE_OVER_WAIT_SHARE = 0.9;

export interface LeaseClaimOptions {
  readonly store: ObjectStore;
  readonly key: string;
  readonly claimant: Claimant;
  readonly durationMs: number;
  /** The nonce of this holding; a random one where left out. */
  readonly holder?: string;
  /** Written into the lease, so that whoever takes it over knows the s3backer token that came with it. */
  readonly token: string;
  /** Take the lease even from a holder that is alive. */
  readonly takeOver: boolean;
  readonly clock: Clock;
  readonly log: Log;
}

interface Held {
  readonly document: LeaseDocument;
  readonly etag: string;
}

export class LeaseClaim implements Claim {
  readonly #options: LeaseClaimOptions;
  readonly #holder: string;
  #formerHolder: string | null = null;
  #held: Held | null = null;
  #renewals = 0;
  #staleTokens: readonly string[] = [];

  constructor(options: LeaseClaimOptions) {
    this.#options = options;
    this.#holder = options.holder ?? randomUUID();
  }

  /** Whose lease we took, once it is ours; null where there was none. */
  get formerHolder(): string | null {
    return this.#formerHolder;
  }

  /** The tokens of the holders before us, which are stale now that the lease is ours. */
  get staleTokens(): readonly string[] {
    return this.#staleTokens;
  }

  async acquire(signal: AbortSignal): Promise<void> {
    for (let race = 0; race < RACES_MAX; race++) {
      const found = await this.#read(signal);
      const alive = found !== null && this.#mayBeAlive(found.document);
      if (alive && !this.#options.takeOver) await this.#waitUntilDead(found, signal);
      const settling = alive && this.#options.takeOver;
      if (!(await this.#take(found, settling, signal))) continue;
      if (settling) await this.#waitUntilFenced(found.document, signal);
      return;
    }
    throw new StorageError('HELD', `the lease ${this.#where} is being taken by others again and again`);
  }

  async renew(signal: AbortSignal): Promise<void> {
    const held = this.#held;
    if (held === null) throw new StorageError('INVALID', 'a lease that is not held cannot be renewed');
    // A number of its own for each attempt: an earlier one that arrives late must not pass for this one.
    this.#renewals += 1;
    const document = {
      ...held.document,
      renewal: this.#renewals,
      renewedAt: this.#stamp(),
      durationMs: this.#options.durationMs,
      settling: false,
    };
    try {
      this.#held = { document, etag: await this.#put(document, { ifMatch: held.etag }, signal) };
    } catch (error) {
      if (!isStorageError(error, 'CONFLICT')) throw error;
      await this.#settleRenewal(document, signal, error);
    }
  }

  async release({ erase }: { readonly erase: boolean }, signal: AbortSignal): Promise<void> {
    const held = this.#held;
    if (held === null) return;
    this.#held = null;
    // Deleted only after it has been released: an unconditional delete could hit a lease taken from us a moment ago.
    if ((await this.#giveUp(held, signal)) && erase) await this.#options.store.delete([this.#options.key], { signal });
  }

  /** False: the lease is somebody else's by now. */
  async #giveUp(held: Held, signal: AbortSignal): Promise<boolean> {
    let current = held;
    for (let race = 0; race < RACES_MAX; race++) {
      try {
        await this.#put({ ...current.document, settling: false, released: true }, { ifMatch: current.etag }, signal);
        return true;
      } catch (error) {
        if (!isStorageError(error, 'CONFLICT')) throw error;
      }
      // With this very request, whose answer was lost; with a renewal that was cut off and has arrived since; or with others.
      const now = await this.#read(signal);
      if (now?.document.holder !== this.#holder) return false;
      if (now.document.released) return true;
      current = now;
    }
    throw new StorageError('CONFLICT', `the lease ${this.#where} changes faster than it can be released`);
  }

  get #where(): string {
    return `${this.#options.key} in ${this.#options.store.description}`;
  }

  /** Whether somebody may be writing under it: its holder, or the one it was taken from, whoever took it. */
  #mayBeAlive(document: LeaseDocument): boolean {
    return document.settling || (!document.released && document.instance !== this.#options.claimant.instance);
  }

  /** True: the lease is ours. False: somebody was quicker. */
  async #take(found: Held | null, settling: boolean, signal: AbortSignal): Promise<boolean> {
    const { claimant, durationMs, token } = this.#options;
    const staleTokens = (found?.document.tokens ?? []).filter((stale) => stale !== token).slice(0, TOKENS_MAX - 1);
    const document: LeaseDocument = {
      holder: this.#holder,
      previousHolder: found?.document.holder ?? null,
      ...claimant,
      // While it settles it stands for the holder before us too.
      durationMs: settling ? Math.max(durationMs, found?.document.durationMs ?? 0) : durationMs,
      tokens: [token, ...staleTokens],
      settling,
      epoch: (found?.document.epoch ?? 0) + 1,
      renewal: 0,
      renewedAt: this.#stamp(),
      released: false,
    };
    let etag: string;
    try {
      etag = await this.#put(document, found === null ? { ifNoneMatch: '*' } : { ifMatch: found.etag }, signal);
    } catch (error) {
      if (!isStorageError(error, 'CONFLICT')) throw error;
      // The conflict may be with our own request, whose answer was lost.
      const now = await this.#read(signal);
      if (now?.document.holder !== this.#holder) return false;
      etag = now.etag;
    }
    this.#held = { document, etag };
    this.#formerHolder = found?.document.holder ?? null;
    this.#staleTokens = staleTokens;
    return true;
  }

  /** After a renewal met another state of the lease than it expected: our own, whose answer was lost, or somebody else's. */
  async #settleRenewal(attempted: LeaseDocument, signal: AbortSignal, conflict: unknown): Promise<void> {
    const now = await this.#read(signal);
    if (now === null) {
      throw new StorageError('FENCED', `the lease ${this.#where} was deleted: the volume is no longer ours`, {
        cause: conflict,
      });
    }
    if (now.document.holder !== this.#holder) {
      throw new StorageError(
        'FENCED',
        `${describeHolder(now.document)} has taken the volume from us (lease ${this.#where})`,
        {
          cause: conflict,
        },
      );
    }
    this.#held = now;
    if (now.document.renewal !== attempted.renewal) {
      throw new StorageError('UNAVAILABLE', `an earlier renewal of ${this.#where} arrived late`, { cause: conflict });
    }
  }

  /** After taking the lease of a holder that may be alive: it may write until its own permission ends. */
  async #waitUntilFenced(document: LeaseDocument, signal: AbortSignal): Promise<void> {
    const waitMs = document.durationMs * TAKE_OVER_WAIT_SHARE;
    this.#options.log.warn('took the lease; waiting until its holder has stopped writing', {
      holder: describeHolder(document),
      waitMs,
    });
    await this.#options.clock.sleep(waitMs, signal);
    // It no longer stands for anybody else, and was not taken from us meanwhile.
    await this.renew(signal);
  }

  /** Returns once the lease has stood unchanged for a whole life; HELD as soon as it changes. */
  async #waitUntilDead(found: Held, signal: AbortSignal): Promise<void> {
    const { clock, log, durationMs } = this.#options;
    const lifeMs = Math.max(found.document.durationMs, durationMs);
    const seenAt = clock.now();
    log.info('waiting to see whether the holder of the lease is alive', {
      holder: describeHolder(found.document),
      renewedAt: found.document.renewedAt,
      waitMsMax: lifeMs,
    });
    while (clock.now() - seenAt < lifeMs) {
      await clock.sleep(Math.min(lifeMs / LOOKS_PER_LIFE, lifeMs - (clock.now() - seenAt)), signal);
      const now = await this.#read(signal);
      if (now === null || now.document.released) return;
      if (now.etag !== found.etag) {
        throw new StorageError(
          'HELD',
          `the volume is held by ${describeHolder(now.document)}, which is alive (lease ${this.#where}). Stop it, or take the volume with --take-over`,
        );
      }
    }
    log.warn('taking over a lease whose holder has not renewed it', { holder: describeHolder(found.document), lifeMs });
  }

  #read(signal: AbortSignal): Promise<Held | null> {
    return readLease(this.#options.store, this.#options.key, signal);
  }

  async #put(
    document: LeaseDocument,
    condition: { readonly ifMatch: string } | { readonly ifNoneMatch: '*' },
    signal: AbortSignal,
  ): Promise<string> {
    const headers = { contentType: 'application/json' };
    const { etag } = await this.#options.store.put(this.#options.key, formatLease(document), {
      ...condition,
      headers,
      signal,
    });
    return etag;
  }

  #stamp(): string {
    return this.#options.clock.date().toISOString();
  }
}

function describeHolder({ host, pid }: LeaseDocument): string {
  return `${host} (process ${pid})`;
}
