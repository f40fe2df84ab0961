/** Finds out at open, and not at the first read, whether a volume's password is the right one. */

import { BlockCipher } from '../layout/blocks/block-cipher.ts';
import { BlockCodec, parseContentEncoding } from '../layout/blocks/block-codec.ts';
import { BlockKeys } from '../layout/blocks/block-keys.ts';
import { isStorageError, StorageError } from '../lib/errors.ts';
import { formatSize } from '../lib/units.ts';
import type { ObjectStore } from '../object/object-store.ts';
import type { VolumeOptions } from './volume-options.ts';
import type { EncryptionRecord, VolumeRecord } from './volume-record.ts';

export interface Keying {
  readonly cipher: BlockCipher | null;
  readonly record: EncryptionRecord | null;
}

/** For a volume with a record. ACCESS_DENIED for a password that is missing or wrong, INVALID for another cipher. */
export function keyFromRecord(volume: VolumeOptions, record: EncryptionRecord | null): Keying {
  const { name, encryption } = volume;
  if (record === null) {
    if (encryption === null) return { cipher: null, record: null };
    throw new StorageError(
      'INVALID',
      `volume ${name} is not encrypted, but the configuration says ${encryption.cipher}: remove volumes.${name}.encrypt`,
    );
  }
  if (encryption === null) throw passwordMissing(volume, record.cipher);
  const cipher = new BlockCipher({ ...encryption, salt: record.salt });
  if (cipher.name !== record.cipher || cipher.keyLengthBytes !== record.keyLengthBytes) {
    throw new StorageError(
      'INVALID',
      `volume ${name} is encrypted with ${record.cipher} and a key of ${record.keyLengthBytes} bytes, ` +
        `but the configuration says ${cipher.name} and ${cipher.keyLengthBytes}`,
    );
  }
  if (cipher.keyCheck() !== record.keyCheck) throw passwordWrong(volume);
  return { cipher, record };
}

/** For a volume without a record: a new one, or s3backer's, whose `sampleBlock` the key is tried on. */
export async function keyFromBlocks(
  volume: VolumeOptions,
  store: ObjectStore,
  record: VolumeRecord,
  sampleBlock: number | null,
  signal: AbortSignal,
): Promise<Keying> {
  const { encryption } = volume;
  const salt = `${store.bucket}/${volume.prefix}`;
  const cipher = encryption === null ? null : new BlockCipher({ ...encryption, salt });
  const keys = new BlockKeys(volume.prefix, record.blockHashPrefix);
  const object = sampleBlock === null ? null : await store.get(keys.keyOf(sampleBlock), { signal });
  if (object !== null && sampleBlock !== null) {
    const used = parseContentEncoding(object.contentEncoding).find((encoding) => encoding.startsWith('encrypt-'));
    if (cipher === null && used !== undefined) throw passwordMissing(volume, used.slice('encrypt-'.length));
    if (cipher !== null && used === undefined) {
      throw new StorageError(
        'INVALID',
        `volume ${volume.name} is not encrypted: remove volumes.${volume.name}.encrypt`,
      );
    }
    const codec = new BlockCodec({
      blockSizeBytes: record.blockSizeBytes,
      compress: 'none',
      compressLevel: null,
      cipher,
    });
    try {
      await codec.decode(sampleBlock, object);
    } catch (error) {
      if (cipher !== null && isStorageError(error, 'ACCESS_DENIED')) throw passwordWrong(volume, error);
      if (!isStorageError(error, 'CORRUPT')) throw error;
      throw new StorageError(
        'CORRUPT',
        `volume ${volume.name}: the object ${object.key} is not a block of ${formatSize(record.blockSizeBytes)}. ` +
          `If it is sound, set volumes.${volume.name}.blockSize to what the volume was made with`,
        { cause: error },
      );
    }
  }
  if (cipher === null) return { cipher, record: null };
  return {
    cipher,
    record: { cipher: cipher.name, keyLengthBytes: cipher.keyLengthBytes, salt, keyCheck: cipher.keyCheck() },
  };
}

function passwordMissing({ name }: VolumeOptions, cipher: string): StorageError {
  return new StorageError(
    'ACCESS_DENIED',
    `volume ${name} is encrypted with ${cipher}: set volumes.${name}.encrypt to "${cipher}" and its password`,
  );
}

function passwordWrong({ name, encryption }: VolumeOptions, cause?: unknown): StorageError {
  const hint =
    cause === undefined ? '' : `, or its cipher or key length are not ${encryption?.cipher} and the one configured`;
  const advice = `correct volumes.${name}.password, or the file that volumes.${name}.passwordFile names`;
  return new StorageError('ACCESS_DENIED', `volume ${name}: the password is wrong${hint}: ${advice}`, { cause });
}
