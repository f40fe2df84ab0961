/**
 * The volume's own record: a small object that keeps what s3backer's format keeps only in block 0, and loses when that
 * block becomes all zero, or does not keep at all.
 */
import { isStorageError, StorageError } from '../lib/errors.ts';
import type { ObjectData, ObjectStore, PutOptions } from '../object/object-store.ts';

const FORMAT = 'bucketdisk-volume';
const VERSION = 1;
/** How many writes without an answer arrive between looks at the record before we believe that somebody else writes it. */
const LATE_WRITES_MAX = 5;

export interface EncryptionRecord {
  readonly cipher: string;
  readonly keyLengthBytes: number;
  /** What the keys were derived with, so that a copy of the bucket under another name still opens. */
  readonly salt: string;
  /** Tells whether a password is the right one. */
  readonly keyCheck: string;
}

export interface VolumeRecord {
  readonly volumeId: string;
  /** ISO 8601. */
  readonly createdAt: string;
  readonly layout: 'blocks';
  readonly sizeBytes: number;
  readonly blockSizeBytes: number;
  readonly blockHashPrefix: boolean;
  readonly encryption: EncryptionRecord | null;
  /** A resize to this size has begun and not ended. */
  readonly resizeToBytes: number | null;
  /** And nobody is shown that size before the record says it: earlier versions showed a growing once they had told block 0, where there was one. */
  readonly resizeUnshown: boolean;
  /** How many resizes have ended, or been taken back. Block 0 tells with which of them its size was written: see `sizeOf`. */
  readonly resizes: number;
  /** An erase has begun: the volume is of no use any more. */
  readonly erasing: boolean;
}

export function formatRecord(record: VolumeRecord): Buffer {
  return Buffer.from(`${JSON.stringify({ format: FORMAT, version: VERSION, ...record }, null, 2)}\n`);
}

/** CORRUPT where it is no record; UNSUPPORTED where a later version wrote it. */
export function parseRecord(object: ObjectData): VolumeRecord {
  let value: Partial<VolumeRecord> & { format?: unknown; version?: unknown };
  try {
    value = JSON.parse(object.body.toString('utf8')) ?? {};
  } catch (cause) {
    throw new StorageError('CORRUPT', damaged(object.key, 'is not JSON'), { cause });
  }
  if (value.format !== FORMAT) throw new StorageError('CORRUPT', damaged(object.key, 'is something else'));
  if (value.version !== VERSION || value.layout !== 'blocks') {
    throw new StorageError(
      'UNSUPPORTED',
      `the volume record ${object.key} is of a later version of bucketdisk: use that one`,
    );
  }
  const {
    volumeId,
    createdAt,
    layout,
    sizeBytes,
    blockSizeBytes,
    blockHashPrefix,
    encryption,
    resizeToBytes,
    // Records of earlier versions are without.
    resizeUnshown = false,
    resizes = 0,
    erasing,
  } = value;
  const sound =
    typeof volumeId === 'string' &&
    typeof createdAt === 'string' &&
    isSize(sizeBytes) &&
    isSize(blockSizeBytes) &&
    sizeBytes % blockSizeBytes === 0 &&
    typeof blockHashPrefix === 'boolean' &&
    isEncryption(encryption) &&
    (resizeToBytes === null || (isSize(resizeToBytes) && resizeToBytes % blockSizeBytes === 0)) &&
    typeof resizeUnshown === 'boolean' &&
    isCount(resizes) &&
    typeof erasing === 'boolean';
  if (!sound) throw new StorageError('CORRUPT', damaged(object.key, 'is damaged'));
  return {
    volumeId,
    createdAt,
    layout,
    sizeBytes,
    blockSizeBytes,
    blockHashPrefix,
    encryption,
    resizeToBytes,
    resizeUnshown,
    resizes,
    erasing,
  };
}

export async function writeRecord(
  store: ObjectStore,
  key: string,
  record: VolumeRecord,
  options: Pick<PutOptions, 'signal' | 'ifNoneMatch' | 'ifMatch'>,
): Promise<void> {
  await store.put(key, formatRecord(record), { headers: { contentType: 'application/json' }, ...options });
}

/**
 * Writes the record of a volume that is held, whatever is there. Once it resolves, no earlier write can take effect any more, however late it arrives,
 * where the store is `conditional`, as it honours conditional puts. Each write has to be the same as one that may be under way, or another than any
 * there has been.
 */
export async function replaceRecord(
  store: ObjectStore,
  key: string,
  record: VolumeRecord,
  { conditional, signal }: { readonly conditional: boolean; readonly signal: AbortSignal },
): Promise<void> {
  if (!conditional) return writeRecord(store, key, record, { signal });
  for (let late = 0; late < LATE_WRITES_MAX; late++) {
    const found = await store.get(key, { signal });
    // This very write, made before, without an answer.
    if (found?.body.equals(formatRecord(record))) return;
    try {
      const condition = found === null ? { ifNoneMatch: '*' as const } : { ifMatch: found.etag };
      return await writeRecord(store, key, record, { signal, ...condition });
    } catch (error) {
      // An earlier write has arrived since we looked, or this one has and its answer was lost.
      if (!isStorageError(error, 'CONFLICT')) throw error;
    }
  }
  throw new StorageError('CONFLICT', `the volume record ${key} is being written by others again and again`);
}

function damaged(key: string, how: string): string {
  return `the volume record ${key} ${how}: restore it, or delete it to have it made again from the volume's blocks`;
}

function isSize(value: unknown): value is number {
  return isCount(value) && value > 0;
}

function isCount(value: unknown): value is number {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0;
}

function isEncryption(value: unknown): value is EncryptionRecord | null {
  if (value === null) return true;
  if (typeof value !== 'object' || value === undefined) return false;
  const { cipher, keyLengthBytes, salt, keyCheck } = value as Partial<EncryptionRecord>;
  return (
    typeof cipher === 'string' && isSize(keyLengthBytes) && typeof salt === 'string' && typeof keyCheck === 'string'
  );
}
