/** What a volume is and what its blocks are encrypted with, from what was found in its bucket: before it is opened, and where it is only looked at. */
import type { BlockCipher } from '../layout/blocks/block-cipher.ts';
import type { ObjectStore } from '../object/object-store.ts';
import { keyFromBlocks, keyFromRecord } from './encryption.ts';
import { type Identity, settleIdentity } from './identity.ts';
import type { Inspection } from './inspect.ts';
import type { VolumeOptions } from './volume-options.ts';

export interface SettleOptions {
  readonly now: Date;
  /** As of `OpenOptions`. */
  readonly create: { readonly force: boolean } | null;
  readonly signal: AbortSignal;
}

export interface Settled {
  /** Its record names the encryption, too. */
  readonly identity: Identity;
  readonly cipher: BlockCipher | null;
}

/** Rejects as `settleIdentity`, and with ACCESS_DENIED or INVALID where the volume is encrypted otherwise than configured. Writes nothing. */
export async function settleVolume(
  volume: VolumeOptions,
  store: ObjectStore,
  found: Inspection,
  { now, create, signal }: SettleOptions,
): Promise<Settled> {
  const identity = settleIdentity(volume, found, now, create);
  const { cipher, record: encryption } =
    found.record === null
      ? await keyFromBlocks(volume, store, identity.record, found.sampleBlock, signal)
      : keyFromRecord(volume, found.record.encryption);
  return { identity: { ...identity, record: { ...identity.record, encryption } }, cipher };
}
