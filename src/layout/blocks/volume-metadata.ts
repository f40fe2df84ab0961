/** The volume's size and block size as s3backer keeps them: metadata of block 0. */
import type { ObjectInfo } from '../../object/object-store.ts';

const BLOCK_SIZE = 's3backer-blocksize';
const FILE_SIZE = 's3backer-filesize';

export interface VolumeMetadata {
  readonly sizeBytes: number;
  readonly blockSizeBytes: number;
}

export function formatVolumeMetadata({ sizeBytes, blockSizeBytes }: VolumeMetadata): Record<string, string> {
  return { [BLOCK_SIZE]: String(blockSizeBytes), [FILE_SIZE]: String(sizeBytes) };
}

/** Null unless both are there and positive: then the sizes have to come from elsewhere. */
export function parseVolumeMetadata(object: ObjectInfo): VolumeMetadata | null {
  const blockSizeBytes = parsePositive(object.metadata[BLOCK_SIZE]);
  const sizeBytes = parsePositive(object.metadata[FILE_SIZE]);
  return blockSizeBytes === null || sizeBytes === null ? null : { sizeBytes, blockSizeBytes };
}

function parsePositive(text: string | undefined): number | null {
  if (text === undefined || !/^[0-9]{1,16}$/.test(text)) return null;
  const value = Number(text);
  return Number.isSafeInteger(value) && value > 0 ? value : null;
}
