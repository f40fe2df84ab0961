/** From a prefix of a bucket to an open volume: looking, claiming, looking again, creating or adopting. */

import { BlockCodec } from '../layout/blocks/block-codec.ts';
import { BlockKeys } from '../layout/blocks/block-keys.ts';
import { BlocksLayout } from '../layout/blocks/blocks-layout.ts';
import type { Clock } from '../lib/clock.ts';
import { isStorageError, StorageError } from '../lib/errors.ts';
import type { Log } from '../lib/log.ts';
import type { ObjectStore } from '../object/object-store.ts';
import type { ConditionalPuts } from '../object/probe.ts';
import type { Claimant } from './claim.ts';
import { makeClaims } from './claims.ts';
import { keyFromBlocks, keyFromRecord } from './encryption.ts';
import { openFence } from './fence.ts';
import { FencedObjectStore } from './fenced-object-store.ts';
import { Hold } from './hold.ts';
import { type Identity, settleIdentity } from './identity.ts';
import { type Inspection, inspectVolume } from './inspect.ts';
import { Volume } from './volume.ts';
import { volumeKeys } from './volume-keys.ts';
import type { VolumeOptions } from './volume-options.ts';
import { formatRecord } from './volume-record.ts';
import { WriteThroughDevice } from './write-through-device.ts';

/** What every volume of an appliance shares. */
export interface VolumeEnvironment {
  /** For blocks. */
  readonly store: ObjectStore;
  /** The same for a volume that is held: `mayWrite` is asked before each attempt of a write. */
  readonly gatedStore: (mayWrite: () => boolean) => ObjectStore;
  /** The same bucket for claims, past any limit on requests and bytes: a lease must not wait for bulk data. */
  readonly controlStore: ObjectStore;
  /** Found out by trying: see object/probe.ts. Only asked where the volume is to be written. */
  readonly conditionalPuts: () => Promise<ConditionalPuts>;
  readonly claimant: Claimant;
  readonly leaseDurationMs: number;
  /** Blocks in memory at once, per volume. */
  readonly inFlightBlocksMax: number;
  readonly clock: Clock;
  readonly log: Log;
}

export interface OpenOptions {
  /** Make the volume where there is none; null: it has to exist. */
  readonly create: { readonly force: boolean } | null;
  /** It must not exist yet. */
  readonly mustBeNew?: boolean;
  /** Take it from a writer that holds it. */
  readonly takeOver: boolean;
  /** Gives up opening. */
  readonly signal: AbortSignal;
  readonly onLost: (error: StorageError) => void;
}

/** Rejects with what settleIdentity, keyFromRecord and Claim.acquire reject with, and with the store's errors. */
export async function openVolume(
  volume: VolumeOptions,
  environment: VolumeEnvironment,
  options: OpenOptions,
): Promise<Volume> {
  // Looked at before it is claimed, so that nothing is ever written where no volume of ours belongs.
  const looked = await look(volume, environment, options);
  if (volume.readOnly) return assemble(volume, environment, looked, null);
  const hold = await holdVolume(volume, environment, options);
  try {
    return await assemble(volume, environment, await lookAndRecord(volume, environment, options, hold), hold);
  } catch (error) {
    await hold.release();
    throw error;
  }
}

/** Claims the volume and keeps it. */
export async function holdVolume(
  volume: VolumeOptions,
  environment: VolumeEnvironment,
  { takeOver, signal, onLost }: Pick<OpenOptions, 'takeOver' | 'signal' | 'onLost'>,
): Promise<Hold> {
  const { controlStore: store, claimant, leaseDurationMs: durationMs, clock } = environment;
  const log = environment.log.child({ volume: volume.name });
  const conditionalPuts = await environment.conditionalPuts();
  const { prefix, sharedDisk } = volume;
  const claims = makeClaims({ store, prefix, sharedDisk, claimant, conditionalPuts, durationMs, takeOver, clock, log });
  const hold = new Hold({ claims, durationMs, clock, log, onLost });
  try {
    await hold.acquire(signal);
  } catch (error) {
    if (!isStorageError(error, 'HELD')) throw error;
    throw new StorageError('HELD', `cannot take volume ${volume.name}: ${error.message}`, { cause: error });
  }
  return hold;
}

/** For everything that is written under the claims. */
export function fencedStore(environment: VolumeEnvironment, hold: Hold): ObjectStore {
  return new FencedObjectStore(
    environment.gatedStore(() => hold.valid),
    hold,
  );
}

interface Looked {
  readonly identity: Identity;
  readonly inspection: Inspection;
  readonly cipher: Awaited<ReturnType<typeof keyFromBlocks>>['cipher'];
}

async function look(
  volume: VolumeOptions,
  environment: VolumeEnvironment,
  { create, mustBeNew, signal }: OpenOptions,
): Promise<Looked> {
  const { store, clock } = environment;
  const inspection = await inspectVolume(store, volume.prefix, volume.blockHashPrefix, signal);
  if (mustBeNew) refuseExisting(volume, inspection);
  const identity = settleIdentity(volume, inspection, clock.date(), create);
  const keying =
    inspection.record === null
      ? await keyFromBlocks(volume, store, identity.record, inspection.sampleBlock, signal)
      : keyFromRecord(volume, inspection.record.encryption);
  return {
    identity: { ...identity, record: { ...identity.record, encryption: keying.record } },
    inspection,
    cipher: keying.cipher,
  };
}

/** Looks again now that the volume is held, and brings its record up to date. */
async function lookAndRecord(
  volume: VolumeOptions,
  environment: VolumeEnvironment,
  options: OpenOptions,
  hold: Hold,
): Promise<Looked> {
  const looked = await look(volume, environment, options);
  const { identity } = looked;
  if (!identity.stale) return looked;
  const fenced = fencedStore(environment, hold);
  const { record } = volumeKeys(volume.prefix);
  const onlyIfAbsent = identity.origin !== 'ours' && (await environment.conditionalPuts()).ifNoneMatch;
  try {
    await fenced.put(record, formatRecord(identity.record), {
      headers: { contentType: 'application/json' },
      signal: options.signal,
      ...(onlyIfAbsent ? { ifNoneMatch: '*' as const } : {}),
    });
  } catch (error) {
    if (!isStorageError(error, 'CONFLICT')) throw error;
    // A lost answer to our own request, or, on a shared disk, another appliance's record: what is there now is what counts.
    return look(volume, environment, { ...options, mustBeNew: false });
  }
  const done = {
    ours: 'the record of volume was brought up to date',
    s3backer: 'adopted a volume made by s3backer',
    new: 'created the volume',
  };
  environment.log.info(done[identity.origin], {
    volume: volume.name,
    url: volume.url,
    sizeBytes: identity.record.sizeBytes,
  });
  return looked;
}

async function assemble(
  volume: VolumeOptions,
  environment: VolumeEnvironment,
  looked: Looked,
  hold: Hold | null,
): Promise<Volume> {
  const { clock, inFlightBlocksMax } = environment;
  const log = environment.log.child({ volume: volume.name });
  const { record, origin } = looked.identity;
  const { sizeBytes, blockSizeBytes } = record;
  const fence = hold ?? openFence;
  const store = hold === null ? environment.store : fencedStore(environment, hold);
  const layout = new BlocksLayout({
    store,
    keys: new BlockKeys(volume.prefix, record.blockHashPrefix),
    codec: new BlockCodec({
      blockSizeBytes,
      compress: volume.compress,
      compressLevel: volume.compressLevel,
      cipher: looked.cipher,
    }),
    sizeBytes,
    blockSizeBytes,
    exclusive: hold !== null && !volume.sharedDisk,
    inFlightBlocksMax,
    clock,
    log,
  });
  // A new volume is empty: the survey costs one listing of nothing. Its failure is logged, and costs only requests.
  if (volume.survey || origin === 'new') layout.survey().catch(() => {});
  const device = new WriteThroughDevice({ layout, fence, readOnly: volume.readOnly });
  return new Volume({ options: volume, record, layout, device, hold, store });
}

function refuseExisting(volume: VolumeOptions, { record, sampleBlock }: Inspection): void {
  if (record === null && sampleBlock === null) return;
  throw new StorageError('INVALID', `volume ${volume.name} exists already at ${volume.url}`);
}
