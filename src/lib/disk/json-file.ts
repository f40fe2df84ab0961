/** Small files of JSON that are replaced whole: what is read is what was written last, or what was there before that. */
import { dirname } from 'node:path';
import type { Disk } from '../disk.ts';
import { StorageError } from '../errors.ts';

/** What is longer is not one of ours. */
const BYTES_MAX = 16 * 1024 * 1024;

/** The file's content, or null where there is none. CORRUPT where it is no JSON. */
export function readJsonFile(disk: Disk, path: string): unknown {
  if (!disk.exists(path)) return null;
  const file = disk.open(path);
  try {
    const sizeBytes = file.sizeBytes();
    if (sizeBytes > BYTES_MAX) throw new Error(`it is ${sizeBytes} bytes long`);
    const text = Buffer.alloc(sizeBytes);
    file.readSync(text, 0);
    return JSON.parse(text.toString('utf8'));
  } catch (cause) {
    throw new StorageError('CORRUPT', `${path} cannot be read`, { cause });
  } finally {
    file.close();
  }
}

/** Durable when it resolves. One at a time for a path; its directory must be there. */
export async function writeJsonFile(disk: Disk, path: string, value: unknown): Promise<void> {
  const file = disk.open(`${path}.new`);
  try {
    file.truncate(0);
    await file.write(Buffer.from(`${JSON.stringify(value)}\n`), 0);
    await file.datasync();
  } finally {
    file.close();
  }
  disk.rename(`${path}.new`, path);
  await disk.syncDirectory(dirname(path));
}
