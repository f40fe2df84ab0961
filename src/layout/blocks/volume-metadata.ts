/** The volume's size and block size as s3backer keeps them: metadata of block 0. And what tells that it was us who wrote them. */
import type { ObjectInfo } from '../../object/object-store.ts';

const BLOCK_SIZE = 's3backer-blocksize';
const FILE_SIZE = 's3backer-filesize';
const VOLUME = 'bucketdisk-volume';
const RESIZES = 'bucketdisk-resizes';

/** An id of a record that somebody has made by hand may be anything, and a header carries only this much for certain. */
const VOLUME_ID = /^[0-9A-Za-z-]{1,64}$/;

/** More than anybody makes. One that is larger has not been counted, and would soon be more than a record can hold. */
const RESIZES_MAX = 1_000_000_000;

/** With which of the volume's resizes its size was written. s3backer writes block 0 without it. */
export interface SizeMark {
  readonly volumeId: string;
  /** As of `VolumeRecord`. */
  readonly resizes: number;
}

export interface VolumeMetadata {
  readonly sizeBytes: number;
  readonly blockSizeBytes: number;
  readonly mark: SizeMark | null;
}

export function formatVolumeMetadata({ sizeBytes, blockSizeBytes, mark }: VolumeMetadata): Record<string, string> {
  const sizes = { [BLOCK_SIZE]: String(blockSizeBytes), [FILE_SIZE]: String(sizeBytes) };
  if (mark === null || !VOLUME_ID.test(mark.volumeId)) return sizes;
  return { ...sizes, [VOLUME]: mark.volumeId, [RESIZES]: String(mark.resizes) };
}

/** Null unless both sizes are there and positive: then they have to come from elsewhere. */
export function parseVolumeMetadata({ metadata }: ObjectInfo): VolumeMetadata | null {
  const blockSizeBytes = parseCount(metadata[BLOCK_SIZE]) ?? 0;
  const sizeBytes = parseCount(metadata[FILE_SIZE]) ?? 0;
  if (blockSizeBytes === 0 || sizeBytes === 0) return null;
  const volumeId = metadata[VOLUME];
  const resizes = parseCount(metadata[RESIZES]);
  const mark = volumeId === undefined || resizes === null || resizes > RESIZES_MAX ? null : { volumeId, resizes };
  return { sizeBytes, blockSizeBytes, mark };
}

function parseCount(text: string | undefined): number | null {
  if (text === undefined || !/^[0-9]{1,16}$/.test(text)) return null;
  const value = Number(text);
  return Number.isSafeInteger(value) ? value : null;
}
