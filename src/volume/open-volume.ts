/** From a prefix of a bucket to an open volume: looking, claiming, looking again, creating or adopting. */

import { randomUUID } from 'node:crypto';
import { CachedVolume } from '../cache/cached-volume.ts';
import { PAGE_BYTES } from '../cache/page.ts';
import type { UploadTriggers } from '../cache/upload/uploader.ts';
import { GIVE_UP } from '../cache/ways-out.ts';
import { BlockCodec } from '../layout/blocks/block-codec.ts';
import { BlockKeys } from '../layout/blocks/block-keys.ts';
import { BlocksLayout } from '../layout/blocks/blocks-layout.ts';
import type { Clock } from '../lib/clock.ts';
import type { Disk } from '../lib/disk.ts';
import { isStorageError, StorageError } from '../lib/errors.ts';
import type { Log } from '../lib/log.ts';
import type { ObjectStore } from '../object/object-store.ts';
import { type ConditionalPuts, honoursBoth } from '../object/probe.ts';
import { type CacheContinuity, CacheHome } from './cache-home.ts';
import { CachedDevice } from './cached-device.ts';
import type { Claimant } from './claim.ts';
import { makeClaims, type VolumeClaims } from './claims.ts';
import { correctSizes } from './correct-sizes.ts';
import { openFence, whenOurs } from './fence.ts';
import { FencedObjectStore } from './fenced-object-store.ts';
import { Hold } from './hold.ts';
import { type Inspection, inspectVolume } from './inspect.ts';
import { type FoundLease, readLease } from './lease-document.ts';
import { readToken, tokenOf } from './mounted-token.ts';
import { type Settled, settleVolume } from './settle-volume.ts';
import { Volume } from './volume.ts';
import { volumeKeys } from './volume-keys.ts';
import type { VolumeOptions } from './volume-options.ts';
import { writeRecord } from './volume-record.ts';
import { WriteThroughDevice } from './write-through-device.ts';

const EAGER_UPLOAD_BYTES = 8 * 1024 * 1024;
/** Before a lease was released its token was removed, and others could write: no longer before than this and a lease's life. */
const RELEASE_MARGIN_MS = 60_000;
/** How often what was looked at may have changed before it is recorded: each late request does that once. */
const LOOKS_MAX = 6;

/** What every volume of an appliance shares. */
export interface VolumeEnvironment {
  /** For blocks. */
  readonly store: ObjectStore;
  /** The same bucket for claims, past any limit on requests and bytes: a lease must not wait for bulk data. */
  readonly controlStore: ObjectStore;
  /** Found out by trying: see object/probe.ts. Only asked where the volume is to be written. */
  readonly conditionalPuts: () => Promise<ConditionalPuts>;
  readonly claimant: Claimant;
  readonly leaseDurationMs: number;
  /** Blocks in memory at once, per volume. */
  readonly inFlightBlocksMax: number;
  /** Null: volumes are opened without a cache. */
  readonly cache: CacheEnvironment | null;
  /** Where a volume that is opened without a cache may have one left from before; null: that is not to be looked at. */
  readonly formerCache: CacheEnvironment | null;
  readonly clock: Clock;
  readonly log: Log;
}

/** Where volumes have their caches, and how large they are. */
export interface CacheEnvironment {
  readonly disk: Disk;
  /** The volume's own directory. */
  readonly directory: string;
  readonly cacheSizeBytes: number;
  readonly logSizeBytes: number;
  readonly triggers: UploadTriggers;
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
  const { signal } = options;
  const looked = await look(volume, environment, options);
  await emptyFormerCache(volume, environment, looked, options);
  if (volume.readOnly) return assemble(volume, environment, looked, null, null);
  const cacheClaim = await expectCache(volume, environment, looked, signal);
  const { hold, claims } = await holdVolume(volume, environment, options, cacheClaim?.holder);
  const overtaken = cacheClaim !== null && wasOvertaken(cacheClaim, claims);
  try {
    const recorded = await lookAndRecord(volume, environment, options, hold);
    if (overtaken) await makeAnew(cacheClaim.home, environment, volume);
    const continuity =
      cacheClaim === null
        ? null
        : await settleCache(cacheClaim, claims, { volumeId: recorded.identity.record.volumeId, url: volume.url });
    return await assemble(volume, environment, recorded, hold, continuity);
  } catch (error) {
    // Writes in a cache that cannot be opened now are still to be uploaded: s3backer must not come between.
    if (cacheClaim?.continues === true && !overtaken) await hold.abandon();
    else await hold.release();
    throw error;
  }
}

/** Claims the volume and keeps it. `holder`: the nonce of the lease, where somebody will want to know it again. */
export async function holdVolume(
  volume: VolumeOptions,
  environment: VolumeEnvironment,
  { takeOver, signal, onLost }: Pick<OpenOptions, 'takeOver' | 'signal' | 'onLost'>,
  holder: string = randomUUID(),
): Promise<{ readonly hold: Hold; readonly claims: VolumeClaims }> {
  const { controlStore: store, claimant, leaseDurationMs: durationMs, clock } = environment;
  const log = environment.log.child({ volume: volume.name });
  const conditionalPuts = await environment.conditionalPuts();
  const { prefix, sharedDisk } = volume;
  const options = { store, prefix, sharedDisk, claimant, conditionalPuts, durationMs, takeOver, holder, clock, log };
  const claims = makeClaims(options);
  const hold = new Hold({ claims: claims.claims, durationMs, clock, log, onLost });
  try {
    await hold.acquire(signal);
  } catch (error) {
    if (!isStorageError(error, 'HELD')) throw error;
    throw new StorageError('HELD', `cannot take volume ${volume.name}: ${error.message}`, { cause: error });
  }
  return { hold, claims };
}

/** For everything that is written under the claims. */
export function fencedStore(environment: VolumeEnvironment, hold: Hold): ObjectStore {
  return new FencedObjectStore(environment.store, hold);
}

interface Looked extends Settled {
  readonly inspection: Inspection;
}

async function look(
  volume: VolumeOptions,
  environment: VolumeEnvironment,
  { create, mustBeNew, signal }: OpenOptions,
): Promise<Looked> {
  const { store, clock } = environment;
  const inspection = await inspectVolume(store, volume.prefix, volume.blockHashPrefix, signal);
  if (mustBeNew) refuseExisting(volume, inspection);
  const settled = await settleVolume(volume, store, inspection, { now: clock.date(), create, signal });
  return { ...settled, inspection };
}

/** Looks again now that the volume is held, until what the bucket says of it is what was settled. */
async function lookAndRecord(
  volume: VolumeOptions,
  environment: VolumeEnvironment,
  options: OpenOptions,
  hold: Hold,
): Promise<Looked> {
  for (let looks = 1; ; looks++) {
    const looked = await look(volume, environment, looks === 1 ? options : { ...options, mustBeNew: false });
    try {
      await recordSettled(volume, environment, looked, hold, options.signal);
      return looked;
    } catch (error) {
      // A lost answer to our own request, one of before that has arrived, or, on a shared disk, another appliance's record: what is there now counts.
      if (!isStorageError(error, 'CONFLICT') || looks === LOOKS_MAX) throw error;
    }
  }
}

/** CONFLICT where the record is not what was looked at any more. */
async function recordSettled(
  volume: VolumeOptions,
  environment: VolumeEnvironment,
  { identity, inspection, cipher }: Looked,
  hold: Hold,
  signal: AbortSignal,
): Promise<void> {
  const store = fencedStore(environment, hold);
  const { record: recordKey } = volumeKeys(volume.prefix);
  if (identity.origin !== 'ours') {
    const { ifNoneMatch } = await environment.conditionalPuts();
    await writeRecord(store, recordKey, identity.record, { signal, ...(ifNoneMatch ? { ifNoneMatch: '*' } : {}) });
    const { name, url } = volume;
    const done = identity.origin === 'new' ? 'created the volume' : 'adopted a volume made by s3backer';
    environment.log.info(done, { volume: name, url, sizeBytes: identity.record.sizeBytes });
    return;
  }
  await correctSizes(identity, inspection, {
    rewriteBlock0: (until) => layoutOf(volume, environment, { identity, cipher }, store, false).rewriteSize(until),
    store,
    recordKey,
    conditional: honoursBoth(await environment.conditionalPuts()),
    shared: volume.sharedDisk,
    hold,
    signal,
    log: environment.log.child({ volume: volume.name }),
  });
}

function layoutOf(
  volume: VolumeOptions,
  { inFlightBlocksMax, clock, log }: VolumeEnvironment,
  { identity, cipher }: Settled,
  store: ObjectStore,
  exclusive: boolean,
): BlocksLayout {
  const { sizeBytes, blockSizeBytes, volumeId, resizes, blockHashPrefix } = identity.record;
  const { compress, compressLevel } = volume;
  return new BlocksLayout({
    store,
    keys: new BlockKeys(volume.prefix, blockHashPrefix),
    codec: new BlockCodec({ blockSizeBytes, compress, compressLevel, cipher }),
    sizeBytes,
    blockSizeBytes,
    mark: { volumeId, resizes },
    exclusive,
    inFlightBlocksMax,
    clock,
    log: log.child({ volume: volume.name }),
  });
}

async function assemble(
  volume: VolumeOptions,
  environment: VolumeEnvironment,
  looked: Looked,
  hold: Hold | null,
  continuity: CacheContinuity | null,
): Promise<Volume> {
  const { clock, cache } = environment;
  const log = environment.log.child({ volume: volume.name });
  const { record, origin } = looked.identity;
  const { volumeId } = record;
  const fence = hold ?? openFence;
  const store = hold === null ? environment.store : fencedStore(environment, hold);
  const layout = layoutOf(volume, environment, looked, store, hold !== null && !volume.sharedDisk);
  const conditional = hold !== null && honoursBoth(await environment.conditionalPuts());
  // Somebody may have written it between two of our claims, and removed his mark as we did: s3backer does.
  const suspectSince = continuity?.suspectSince ?? null;
  const unchanged = suspectSince === null || !volume.survey ? null : layout.unchangedSince(suspectSince);
  unchanged?.catch(() => {});
  // A new volume is empty: the survey costs one listing of nothing. Its failure is logged, and costs only requests.
  if (volume.survey || origin === 'new') layout.survey().catch(() => {});
  const cached =
    cache === null || continuity === null
      ? null
      : await CachedVolume.open({
          ...cache,
          trusted: suspectSince === null,
          unchanged,
          onTrusted: continuity.onTrusted,
          layout,
          volumeId,
          durability: volume.durability,
          triggers: volume.durability === 's3' ? eager(cache.triggers) : cache.triggers,
          lost: () => fence.lost,
          whenOurs: (work) => whenOurs(fence, work),
          clock,
          log,
        }).catch(async (error: unknown) => {
          // The survey would list on.
          await layout.close();
          throw error;
        });
  const device =
    cached === null ? new WriteThroughDevice({ layout, fence, readOnly: volume.readOnly }) : new CachedDevice(cached);
  return new Volume({ options: volume, record, layout, device, cached, hold, store, conditional });
}

/** Somebody will wait for the bucket at the next flush: what can be sent before need not be waited for. */
function eager(triggers: UploadTriggers): UploadTriggers {
  return { ...triggers, dirtyBytesMax: Math.min(triggers.dirtyBytesMax, EAGER_UPLOAD_BYTES) };
}

/** A cache, and the claim under which it will be used. */
interface CacheClaim {
  readonly home: CacheHome;
  readonly holder: string;
  /** The holder of the lease that it follows, as seen before the claim was made. */
  readonly after: string | null;
  /** Our token was set when we looked. */
  readonly tokenStands: boolean;
  /** It has been used before, and the volume was this cache's all the time until now. */
  readonly continues: boolean;
}

/**
 * Looks whether the volume's cache may be used, before anything is claimed; null where the volume is to have none. CONFLICT
 * where somebody else has held the volume since and the cache has writes that are not in the bucket; without such writes it
 * is made anew.
 */
async function expectCache(
  volume: VolumeOptions,
  environment: VolumeEnvironment,
  looked: Looked,
  signal: AbortSignal,
): Promise<CacheClaim | null> {
  const { cache, controlStore, claimant } = environment;
  const { volumeId, blockSizeBytes } = looked.identity.record;
  if (cache === null || volume.sharedDisk) return null;
  if (blockSizeBytes % PAGE_BYTES !== 0) {
    const message = 'the volume has blocks smaller than a page of the cache: it is served without one';
    environment.log.warn(message, { volume: volume.name, blockSizeBytes });
    return null;
  }
  const home = CacheHome.open(cache.disk, cache.directory);
  await home.clearForeign(volumeId, volume.url);
  const keys = volumeKeys(volume.prefix);
  const lease = await readLease(controlStore, keys.lease, signal);
  const tokenStands = home.hasToken((await readToken(controlStore, keys.token, signal))?.value ?? null);
  const continues = honoursBoth(await environment.conditionalPuts())
    ? home.follows(lease?.document ?? null)
    : tokenStands;
  // Our token stays while there are writes left: where it is gone, somebody else has had the volume mounted.
  if (home.volumeId !== null && !tokenStands) await home.refuseUnsaved();
  if (home.volumeId !== null && !continues) await makeAnew(home, environment, volume);
  const holder = randomUUID();
  const after = lease?.document.holder ?? null;
  // Before our own claims cover it: an opening that ends right after them must not make us believe in all of the cache again.
  const suspectSince = tokenStands || lease === null ? null : beforeRelease(lease);
  await home.expectClaim({ holder, after }, tokenOf(claimant.instance, volume.prefix), suspectSince);
  return { home, holder, after, tokenStands, continues };
}

/** Whether somebody came between the look and the claim, and has made the cache stale after all. */
function wasOvertaken({ home, after, tokenStands, continues }: CacheClaim, { lease, token }: VolumeClaims): boolean {
  if (!continues) return false;
  return (tokenStands && !home.hasToken(token.former)) || (lease !== null && lease.formerHolder !== after);
}

/** Since when others may have written the volume, whose token is gone. Without a date nothing is old enough. */
function beforeRelease({ document, changedAt }: FoundLease): Date {
  return new Date(changedAt === undefined ? 0 : changedAt.getTime() - document.durationMs - RELEASE_MARGIN_MS);
}

/** Removes a cache that somebody else has made stale. CONFLICT where it has writes that are not in the bucket. */
async function makeAnew(home: CacheHome, { log }: VolumeEnvironment, { name }: VolumeOptions): Promise<void> {
  await home.refuseUnsaved();
  log.info('the volume has had another writer since: its cache is made anew', { volume: name });
  home.remove();
}

/** The claim has been made: what that says of the cache. */
async function settleCache(
  { home, holder }: CacheClaim,
  { lease, tokenValue }: VolumeClaims,
  place: { readonly volumeId: string; readonly url: string },
): Promise<CacheContinuity> {
  const { suspectSince } = home;
  await home.settleClaim(place, lease === null ? null : holder, tokenValue, suspectSince);
  return { suspectSince, onTrusted: () => home.noteTrusted() };
}

/**
 * For a volume that has no cache any more: uploads what is left in the one it had, and removes that, as it will not be kept up to
 * date. CONFLICT where its writes cannot go to the bucket by themselves.
 */
async function emptyFormerCache(
  volume: VolumeOptions,
  environment: VolumeEnvironment,
  looked: Looked,
  options: OpenOptions,
): Promise<void> {
  const { formerCache: former, log } = environment;
  const home = former === null ? null : CacheHome.find(former.disk, former.directory);
  if (former === null || home === null) return;
  await home.clearForeign(looked.identity.record.volumeId, volume.url);
  if (volume.readOnly || volume.sharedDisk) {
    await home.refuseUnsaved();
    return;
  }
  if (await home.hasUnsaved()) {
    log.info('the volume has no cache any more: uploading the writes that are left in it', { volume: volume.name });
    const drained = await openVolume(volume, { ...environment, cache: former, formerCache: null }, options);
    const closed = await drained.close(options.signal);
    const lostPages = drained.cached?.status().damagedPages ?? 0;
    if (lostPages > 0) throw lostIn(former.directory, lostPages);
    if (closed !== 'clean') throw new StorageError('CANCELLED', 'gave up uploading what was left in the cache');
  }
  CacheHome.open(former.disk, former.directory).remove();
}

/** Without the cache they would read as they were before. */
function lostIn(directory: string, pages: number): StorageError {
  return new StorageError(
    'CORRUPT',
    `the disk of the cache in ${directory} has lost ${pages} page(s) of the volume: give it a cache until they have been written again. ${GIVE_UP}`,
  );
}

function refuseExisting(volume: VolumeOptions, { record, sampleBlock }: Inspection): void {
  if (record === null && sampleBlock === null) return;
  throw new StorageError('INVALID', `volume ${volume.name} exists already at ${volume.url}`);
}
