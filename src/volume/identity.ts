/** Settles what a volume is from what the bucket holds and what the configuration says. */
import { randomUUID } from 'node:crypto';
import { BLOCK_COUNT_MAX } from '../layout/blocks/block-keys.ts';
import type { VolumeMetadata } from '../layout/blocks/volume-metadata.ts';
import { StorageError } from '../lib/errors.ts';
import { formatSize } from '../lib/units.ts';
import type { Inspection } from './inspect.ts';
import type { VolumeOptions } from './volume-options.ts';
import type { VolumeRecord } from './volume-record.ts';

export const BLOCK_SIZE_DEFAULT_BYTES = 1024 * 1024;

export interface Identity {
  /** As it is, or as it will be once it has been created or adopted; `encryption` is settled separately. Never with `resizeToBytes`. */
  readonly record: VolumeRecord;
  /** Block 0 says something else than the record here, and is to be written anew. */
  readonly block0Differs: boolean;
  /** Block 0 tells of which of our resizes it is: the record here is right whatever it says, as it knows of no fewer. */
  readonly recordDecides: boolean;
  /** `ours`: has a record. `s3backer`: has none, only blocks. `new`: the prefix is empty. */
  readonly origin: 'ours' | 's3backer' | 'new';
  /** The record in the bucket says something else, and is to be written. */
  readonly stale: boolean;
}

/**
 * NOT_FOUND where there is no volume and none is to be made; INVALID where the prefix holds something else, or where the
 * configured sizes are not the volume's.
 */
export function settleIdentity(
  volume: VolumeOptions,
  found: Inspection,
  now: Date,
  create: { readonly force: boolean } | null,
): Identity {
  if (found.record !== null) return fromRecord(volume, found.record, found);
  if (found.sampleBlock !== null) return fromBlocks(volume, found, now);
  if (create === null) throw notFound(volume, 'there is no volume at');
  return {
    record: freshRecord(volume, found, now, create.force),
    block0Differs: false,
    recordDecides: false,
    origin: 'new',
    stale: true,
  };
}

function fromRecord(volume: VolumeOptions, record: VolumeRecord, found: Inspection): Identity {
  if (record.erasing) {
    throw new StorageError(
      'INVALID',
      `volume ${volume.name} at ${volume.url} is half erased: run "bucketdisk erase ${volume.name}" again`,
    );
  }
  const { metadata } = found;
  if (metadata !== null && metadata.blockSizeBytes !== record.blockSizeBytes) {
    throw new StorageError(
      'CORRUPT',
      `volume ${volume.name}: block 0 says blocks of ${metadata.blockSizeBytes} bytes, the volume's record ${record.blockSizeBytes}`,
    );
  }
  const sizeBytes = sizeOf(record, metadata);
  const resizesOfBlock0 = resizesIn(record, metadata);
  const counted =
    record.resizeToBytes !== null
      ? // More than its end counts, which may still be under way.
        record.resizes + 2
      : // A size that is none of ours counts as one more: a record of before it must not pass for as late as what is written from now on.
        record.resizes + (sizeBytes === record.sizeBytes ? 0 : 1);
  const resizes = Math.max(counted, resizesOfBlock0 ?? 0);
  checkGeometry(volume, sizeBytes, record.blockSizeBytes);
  checkConfigured(volume, sizeBytes, record.blockSizeBytes);
  const isMarkedOtherwise = resizesOfBlock0 !== null && resizesOfBlock0 !== resizes;
  return {
    record: { ...record, sizeBytes, resizeToBytes: null, resizeUnshown: false, resizes },
    block0Differs: metadata !== null && (metadata.sizeBytes !== sizeBytes || isMarkedOtherwise),
    recordDecides: resizesOfBlock0 !== null,
    origin: 'ours',
    stale: sizeBytes !== record.sizeBytes || record.resizeToBytes !== null || resizes !== record.resizes,
  };
}

/**
 * The size of a volume of ours. Where we have written block 0, it and the record tell how many resizes each knows of, and the later of the two is
 * right: of block 0 a request that got no answer may arrive at any time, and a record may be restored. A resize that is under way has come to
 * nothing before the record says that it has ended: it is taken back, as nobody has been shown more than the smaller size and nothing has been
 * deleted. But earlier versions of ours showed a growing before that: it is finished where block 0 says what it was to come to, or, of theirs, is
 * not there to say, or late. A block 0 that we have not written is right, as s3backer may have resized the volume since.
 */
export function sizeOf(record: VolumeRecord, metadata: VolumeMetadata | null): number {
  const { sizeBytes, resizeToBytes, resizeUnshown, resizes } = record;
  const resizesOfBlock0 = resizesIn(record, metadata);
  if (metadata !== null && resizesOfBlock0 !== null && resizesOfBlock0 > resizes) return metadata.sizeBytes;
  const isLate = resizesOfBlock0 !== null && resizesOfBlock0 < resizes && metadata?.sizeBytes !== sizeBytes;
  const said = (isLate ? null : metadata?.sizeBytes) ?? (resizeUnshown ? null : resizeToBytes) ?? sizeBytes;
  if (said === resizeToBytes) return Math.max(said, sizeBytes);
  return resizesOfBlock0 === null ? said : sizeBytes;
}

/** How many resizes block 0 knows of; null where it was not this volume of ours that wrote it. */
function resizesIn({ volumeId }: VolumeRecord, metadata: VolumeMetadata | null): number | null {
  const mark = metadata?.mark ?? null;
  return mark?.volumeId === volumeId ? mark.resizes : null;
}

function fromBlocks(volume: VolumeOptions, found: Inspection, now: Date): Identity {
  const sizeBytes = found.metadata?.sizeBytes ?? volume.sizeBytes;
  const blockSizeBytes = found.metadata?.blockSizeBytes ?? volume.blockSizeBytes;
  if (sizeBytes === null || blockSizeBytes === null) {
    throw new StorageError(
      'INVALID',
      `volume ${volume.name} at ${volume.url} has blocks, but none that tells its size: set its size and blockSize as it was made`,
    );
  }
  checkConfigured(volume, sizeBytes, blockSizeBytes);
  checkGeometry(volume, sizeBytes, blockSizeBytes);
  return {
    record: newRecord(sizeBytes, blockSizeBytes, found.blockHashPrefix ?? false, now),
    block0Differs: false,
    recordDecides: false,
    origin: 's3backer',
    stale: true,
  };
}

function freshRecord(volume: VolumeOptions, found: Inspection, now: Date, force: boolean): VolumeRecord {
  if (found.foreignKey !== null && !force) {
    throw new StorageError(
      'INVALID',
      `${volume.url} is not empty and holds no volume (it has the key "${found.foreignKey}"): choose another place, or create the volume with --force`,
    );
  }
  if (volume.readOnly) throw notFound(volume, 'a read-only volume is not created, and there is none at');
  if (volume.sizeBytes === null) throw notFound(volume, 'set a size to create one: there is no volume at');
  const blockSizeBytes = volume.blockSizeBytes ?? BLOCK_SIZE_DEFAULT_BYTES;
  checkGeometry(volume, volume.sizeBytes, blockSizeBytes);
  return newRecord(volume.sizeBytes, blockSizeBytes, volume.blockHashPrefix ?? false, now);
}

function newRecord(sizeBytes: number, blockSizeBytes: number, blockHashPrefix: boolean, now: Date): VolumeRecord {
  return {
    volumeId: randomUUID(),
    createdAt: now.toISOString(),
    layout: 'blocks',
    sizeBytes,
    blockSizeBytes,
    blockHashPrefix,
    encryption: null,
    resizeToBytes: null,
    resizeUnshown: false,
    resizes: 0,
    erasing: false,
  };
}

/** What the format allows. Also used for a new size. */
export function checkGeometry(volume: { readonly name: string }, sizeBytes: number, blockSizeBytes: number): void {
  const fault =
    sizeBytes <= 0 || !Number.isSafeInteger(sizeBytes)
      ? 'is not a size a volume can have'
      : sizeBytes % blockSizeBytes !== 0
        ? `is not a multiple of the block size, ${formatSize(blockSizeBytes)}`
        : sizeBytes / blockSizeBytes > BLOCK_COUNT_MAX
          ? `needs more than 2^32 blocks of ${formatSize(blockSizeBytes)}: use larger blocks`
          : null;
  if (fault !== null) throw new StorageError('INVALID', `volume ${volume.name}: ${formatSize(sizeBytes)} ${fault}`);
}

function checkConfigured(volume: VolumeOptions, sizeBytes: number, blockSizeBytes: number): void {
  const { name } = volume;
  if (volume.sizeBytes !== null && volume.sizeBytes !== sizeBytes) {
    const says = `volume ${name} at ${volume.url} is ${formatSize(sizeBytes)}, but the configuration says ${formatSize(volume.sizeBytes)}. `;
    const resize = `bucketdisk resize ${name} ${formatSize(volume.sizeBytes)}`;
    // A volume that is larger has most likely been grown; making it smaller again deletes data.
    const advice =
      sizeBytes > volume.sizeBytes
        ? `Correct volumes.${name}.size; to really make it smaller, shrink the filesystem in it and run "${resize} --force"`
        : `To change the volume, run "${resize}"; else correct volumes.${name}.size`;
    throw new StorageError('INVALID', says + advice);
  }
  if (volume.blockSizeBytes !== null && volume.blockSizeBytes !== blockSizeBytes) {
    throw new StorageError(
      'INVALID',
      `volume ${name} at ${volume.url} has blocks of ${formatSize(blockSizeBytes)}, but the configuration says ` +
        `${formatSize(volume.blockSizeBytes)}. The block size cannot be changed: correct volumes.${name}.blockSize`,
    );
  }
}

function notFound(volume: VolumeOptions, why: string): StorageError {
  return new StorageError('NOT_FOUND', `volume ${volume.name}: ${why} ${volume.url}`);
}
