/** Which claims it takes to hold a volume, on the store at hand. */
import type { Clock } from '../lib/clock.ts';
import type { Log } from '../lib/log.ts';
import type { ObjectStore } from '../object/object-store.ts';
import { type ConditionalPuts, honoursBoth } from '../object/probe.ts';
import type { Claim, Claimant } from './claim.ts';
import { LeaseClaim, TAKE_OVER_WAIT_SHARE } from './lease-claim.ts';
import { SHARED_DISK_TOKEN, tokenOf } from './mounted-token.ts';
import { TokenClaim } from './token-claim.ts';
import { volumeKeys } from './volume-keys.ts';

export interface ClaimsOptions {
  readonly store: ObjectStore;
  readonly prefix: string;
  readonly sharedDisk: boolean;
  readonly claimant: Claimant;
  readonly conditionalPuts: ConditionalPuts;
  readonly durationMs: number;
  readonly takeOver: boolean;
  /** The nonce of this holding, where somebody will want to know it again. */
  readonly holder?: string;
  readonly clock: Clock;
  readonly log: Log;
}

export interface VolumeClaims {
  /** In the order in which they are made. */
  readonly claims: readonly Claim[];
  /** Null where the store cannot do conditional PUTs, and on a shared disk. */
  readonly lease: LeaseClaim | null;
  readonly token: TokenClaim;
  /** The value of the token. */
  readonly tokenValue: string;
}

/**
 * A lease and s3backer's token where the store honours conditions: the lease keeps other appliances out, the token
 * s3backer. The token alone where it does not, which two writers that start at the same moment can both miss; and on a
 * shared disk, where it says no more than that.
 */
export function makeClaims(options: ClaimsOptions): VolumeClaims {
  const { store, prefix, claimant, conditionalPuts, durationMs, log } = options;
  const keys = volumeKeys(prefix);
  const token = options.sharedDisk ? SHARED_DISK_TOKEN : tokenOf(claimant.instance, prefix);
  const leased = !options.sharedDisk && honoursBoth(conditionalPuts);
  const lease = leased ? new LeaseClaim({ ...options, key: keys.lease, token }) : null;
  if (lease === null && !options.sharedDisk) {
    log.warn(
      'the store does not honour conditional PUTs: two appliances that start at once could both take the volume',
      {
        store: store.description,
      },
    );
  }
  const tokenClaim = new TokenClaim({
    ...options,
    key: keys.token,
    token,
    stale: () => lease?.staleTokens ?? [],
    alone: lease === null,
    takeOverWaitMs: durationMs * TAKE_OVER_WAIT_SHARE,
    conditional: conditionalPuts.ifNoneMatch,
  });
  const claims = lease === null ? [tokenClaim] : [lease, tokenClaim];
  return { claims, lease, token: tokenClaim, tokenValue: token };
}
