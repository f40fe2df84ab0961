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

export class TokenClaim implements Claim {
  readonly #options: TokenClaimOptions;
  #former: string | null = null;

  constructor(options: TokenClaimOptions) {
    this.#options = options;
  }

  /** The token that was there before ours, once the claim is made; null where there was none. */
  get former(): string | null {
    return this.#former;
  }

  async acquire(signal: AbortSignal): Promise<void> {
    const { store, key, token, takeOver, stale } = this.#options;
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
    const { store, key, token, log } = this.#options;
    const found = await readToken(store, key, signal);
    if (found === null) {
      log.warn('the mounted token was deleted by somebody; setting it again', { key });
      await this.#write(this.#options.conditional, signal);
    } else if (found.value !== token) {
      throw new StorageError('FENCED', `${found.text || 'another writer'} has taken the volume from us (${key})`);
    }
  }

  async release({ erase }: { readonly erase: boolean }, signal: AbortSignal): Promise<void> {
    const { store, key, token } = this.#options;
    // A shared disk's token says that the volume is shared, by us or by others: it stays, as with s3backer.
    if (token === SHARED_DISK_TOKEN && !erase) return;
    const found = await readToken(store, key, signal);
    if (found?.value === token) await store.delete([key], { signal });
  }

  /** After taking the token of somebody who may be alive. s3backer never looks at its token again: no use waiting for it. */
  async #waitUntilFenced(found: MountedToken, signal: AbortSignal): Promise<void> {
    const { alone, takeOverWaitMs: waitMs, clock, log } = this.#options;
    if (!alone && found.value !== SHARED_DISK_TOKEN) return;
    log.warn('took the mounted token; waiting until its holder has stopped writing', { holder: found.text, waitMs });
    await clock.sleep(waitMs, signal);
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
