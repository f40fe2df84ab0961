/** Keeps s3backer away, and other appliances too where the store cannot do conditional PUTs: by s3backer's own token. */
import type { Clock } from '../lib/clock.ts';
import { isStorageError, StorageError } from '../lib/errors.ts';
import type { Log } from '../lib/log.ts';
import type { ObjectStore } from '../object/object-store.ts';
import type { Claim, Claimant } from './claim.ts';
import { type MountedToken, readToken, SHARED_DISK_TOKEN, writeToken } from './mounted-token.ts';

export interface TokenClaimOptions {
  readonly store: ObjectStore;
  readonly key: string;
  /** The token's value; SHARED_DISK_TOKEN where several write at once. */
  readonly token: string;
  readonly claimant: Claimant;
  /** Tokens that are known to be of dead writers. Asked when the claim is made. */
  readonly stale: () => readonly string[];
  readonly takeOver: boolean;
  /** There is no lease beside it: other appliances go by the token too. */
  readonly alone: boolean;
  /** How long an appliance whose token is taken from it may go on writing. */
  readonly takeOverWaitMs: number;
  /** Whether the store honours `If-None-Match: *`. */
  readonly conditional: boolean;
  readonly clock: Clock;
  readonly log: Log;
}

interface Times {
  readonly monotonicMs: number;
  readonly dateMs: number;
}

export class TokenClaim implements Claim {
  readonly #options: TokenClaimOptions;
  #former: string | null = null;
  /** Our token stood then, or later. */
  #stoodAt: Times;

  constructor(options: TokenClaimOptions) {
    this.#options = options;
    this.#stoodAt = this.#times();
  }

  /** The token that was there before ours, once the claim is made; null where there was none. */
  get former(): string | null {
    return this.#former;
  }

  async acquire(signal: AbortSignal): Promise<void> {
    const { store, key, token, takeOver, stale } = this.#options;
    this.#stoodAt = this.#times();
    const found = await readToken(store, key, signal);
    this.#former = found?.value ?? null;
    if (found?.value === token && token === SHARED_DISK_TOKEN) return;
    const free = found === null || found.value === token || stale().includes(found.value);
    if (!free && !takeOver) {
      const shared = found.value === SHARED_DISK_TOKEN ? ' as a shared disk' : '';
      throw new StorageError(
        'HELD',
        `the volume is marked as mounted${shared} by ${found.text || 'an unknown host'} (${key}). If nobody has it mounted any more, take it with --take-over`,
      );
    }
    await this.#write(found === null && this.#options.conditional, signal);
    // Where the store has no conditions, the last of two writers wins: whoever reads another's token has lost.
    const now = await readToken(store, key, signal);
    if (now?.value !== token) {
      throw new StorageError(
        'HELD',
        `the volume was taken at the same moment by ${now?.text ?? 'another writer'} (${key})`,
      );
    }
    if (!free) await this.#waitUntilFenced(found, signal);
  }

  async renew(signal: AbortSignal): Promise<void> {
    const { store, key, token } = this.#options;
    const startedAt = this.#times();
    const found = (await readToken(store, key, signal)) ?? (await this.#setAgain(signal));
    if (found === null)
      throw new StorageError('UNAVAILABLE', `the mounted token is deleted as soon as it is set (${key})`);
    if (found.value !== token) {
      throw new StorageError('FENCED', `${found.text || 'another writer'} has taken the volume from us (${key})`);
    }
    this.#stoodAt = startedAt;
  }

  async release({ erase }: { readonly erase: boolean }, signal: AbortSignal): Promise<void> {
    const { store, key, token } = this.#options;
    // A shared disk's token says that the volume is shared, by us or by others: it stays, as with s3backer.
    if (token === SHARED_DISK_TOKEN && !erase) return;
    const found = await readToken(store, key, signal);
    if (found?.value === token) await store.delete([key], { signal });
  }

  /** After somebody has deleted it. Returns what is there then: somebody else may have been quicker. */
  async #setAgain(signal: AbortSignal): Promise<MountedToken | null> {
    const { store, key, token, alone, takeOverWaitMs, conditional, log } = this.#options;
    const { monotonicMs, dateMs } = this.#times();
    const unseenMs = Math.max(monotonicMs - this.#stoodAt.monotonicMs, dateMs - this.#stoodAt.dateMs);
    if (alone && token !== SHARED_DISK_TOKEN && unseenMs >= takeOverWaitMs) {
      // Whoever takes it over waits for so long, writes, and deletes it in the end: no lease tells of that here.
      const message = `the mounted token is gone, and another writer may have had the volume since we saw it last (${key})`;
      throw new StorageError('FENCED', message);
    }
    log.warn('the mounted token was deleted by somebody; setting it again', { key });
    await this.#write(conditional, signal);
    return readToken(store, key, signal);
  }

  /** After taking the token of somebody who may be alive. s3backer never looks at its token again: no use waiting for it. */
  async #waitUntilFenced(found: MountedToken, signal: AbortSignal): Promise<void> {
    const { alone, takeOverWaitMs: waitMs, clock, log } = this.#options;
    if (!alone && found.value !== SHARED_DISK_TOKEN) return;
    log.warn('took the mounted token; waiting until its holder has stopped writing', { holder: found.text, waitMs });
    await clock.sleep(waitMs, signal);
  }

  /** By both clocks: the monotonic one stands still while the machine sleeps, the other one may be set back. */
  #times(): Times {
    const { clock } = this.#options;
    return { monotonicMs: clock.now(), dateMs: clock.date().getTime() };
  }

  async #write(onlyIfAbsent: boolean, signal: AbortSignal): Promise<void> {
    const { store, key, token, claimant, clock } = this.#options;
    try {
      await writeToken(store, key, { value: token, host: claimant.host, date: clock.date() }, { onlyIfAbsent, signal });
    } catch (error) {
      // Read back by the caller: the conflict may be with our own request, whose answer was lost.
      if (!isStorageError(error, 'CONFLICT')) throw error;
    }
  }
}
