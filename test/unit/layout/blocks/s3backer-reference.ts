/** Objects as s3backer writes them, made from the description of its format and from none of the code under test. */
import { createCipheriv, createHmac, pbkdf2Sync } from 'node:crypto';
import { deflateSync, zstdCompressSync } from 'node:zlib';
import type { ObjectData } from '../../../../src/object/object-store.ts';

export interface ReferenceKeying {
  /** As in Content-Encoding: `AES-128-CBC`. */
  readonly cipher: string;
  readonly password: string;
  /** `<bucket>/<prefix>`. */
  readonly salt: string;
  /** Bytes of key derived. */
  readonly keyLengthBytes: number;
  /** Bytes of key the cipher itself takes. */
  readonly naturalKeyBytes: number;
  readonly cipherBlockBytes: number;
}

export function referenceKeys({ password, salt, keyLengthBytes }: ReferenceKeying): { key: Buffer; ivKey: Buffer } {
  const key = pbkdf2Sync(Buffer.from(password), Buffer.from(salt), 5000, keyLengthBytes, 'sha1');
  return { key, ivKey: pbkdf2Sync(key, key, 5000, keyLengthBytes, 'sha1') };
}

export function referenceIv(keying: ReferenceKeying, block: number): Buffer {
  const { ivKey } = referenceKeys(keying);
  const text = Buffer.alloc(keying.cipherBlockBytes);
  text.write(`0000000${block.toString(16)}`.slice(-8));
  const cipher = createCipheriv(
    keying.cipher.toLowerCase(),
    ivKey.subarray(0, keying.naturalKeyBytes),
    ivKey.subarray(0, keying.cipherBlockBytes),
  );
  return cipher.setAutoPadding(false).update(text);
}

export interface ReferenceOptions {
  readonly block: number;
  readonly data: Buffer;
  readonly compress: 'none' | 'deflate' | 'zstd';
  readonly keying?: ReferenceKeying;
  /** s3backer puts the HMAC in double quotes. */
  readonly quoted?: boolean;
}

/** What a GET of the block s3backer wrote answers. */
export function referenceObject({ block, data, compress, keying, quoted = true }: ReferenceOptions): ObjectData {
  const encodings: string[] = [];
  const metadata: Record<string, string> = {};
  let body = data;
  if (compress === 'deflate') body = deflateSync(body);
  if (compress === 'zstd') body = zstdCompressSync(body);
  if (compress !== 'none') encodings.push(compress);
  if (keying !== undefined) {
    const { key } = referenceKeys(keying);
    const cipher = createCipheriv(
      keying.cipher.toLowerCase(),
      key.subarray(0, keying.naturalKeyBytes),
      referenceIv(keying, block),
    );
    body = Buffer.concat([cipher.update(body), cipher.final()]);
    const digits = `0000000${block.toString(16)}`.slice(-8);
    const hmac = createHmac('sha1', key).update(`${digits}${keying.cipher}`).update(body).digest('hex');
    metadata['s3backer-hmac'] = quoted ? `"${hmac}"` : hmac;
    encodings.push(`encrypt-${keying.cipher}`);
  }
  return {
    key: `reference ${block}`,
    sizeBytes: body.length,
    etag: 'e',
    contentType: 'application/x-s3backer-block',
    contentEncoding: encodings.length === 0 ? undefined : encodings.join(', '),
    metadata,
    lastModified: undefined,
    body,
  };
}

/** Bytes that compress somewhat and differ from one `seed` to the next. */
export function sampleData(length: number, seed = 1): Buffer {
  return Buffer.from(Array.from({ length }, (_, i) => (i * seed * 7 + (i >> 5) * 13 + seed) & 0xff));
}
