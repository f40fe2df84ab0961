/** Reads the disk that a volume carries, for as long as there is something there. */
import { isStorageError } from '../lib/errors.ts';
import type { BlockDevice } from '../volume/block-device.ts';

/** The bytes, or null where they are past the end or cannot be read. */
export type ReadBytes = (offset: number, length: number) => Promise<Buffer | null>;

export function bytesOf(device: BlockDevice): ReadBytes {
  return async (offset, length) => {
    if (!Number.isSafeInteger(offset) || offset < 0 || offset + length > device.geometry.sizeBytes) return null;
    try {
      return await device.read(offset, length);
    } catch (error) {
      // What is damaged may be this very part.
      if (!isStorageError(error)) throw error;
      return null;
    }
  };
}
