/** Whether anything at all is on a device, by what is known of it and without reading. */
import { StorageError } from '../lib/errors.ts';
import type { BlockDevice } from './block-device.ts';

/** True where all of it is known to be holes that read as zeros. What is not known counts as something. CANCELLED when `signal` aborts. */
export async function isEmpty(device: BlockDevice, signal: AbortSignal): Promise<boolean> {
  const { sizeBytes } = device.geometry;
  // A device tells of a bounded part at a time, so that a large one takes several questions.
  for (let at = 0; at < sizeBytes; ) {
    if (signal.aborted) throw new StorageError('CANCELLED', 'gave up looking at the volume', { cause: signal.reason });
    const [first] = await device.extents(at, sizeBytes - at, 1);
    if (first === undefined || first.length === 0 || !first.hole || !first.zero) return false;
    at += first.length;
  }
  return true;
}
