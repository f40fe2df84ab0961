/** The checks of a body against the digests its request names. */
import { createHash } from 'node:crypto';
import { crc32 } from 'node:zlib';
import { S3Error } from './errors.ts';

/** The checksum headers that can be computed here; CRC32C and CRC64NVME requests are refused as not implemented. */
const CHECKSUM_OF: Readonly<Record<string, (body: Buffer) => Buffer>> = {
  'x-amz-checksum-crc32': (body) => {
    const sum = Buffer.alloc(4);
    sum.writeUInt32BE(crc32(body));
    return sum;
  },
  'x-amz-checksum-sha1': (body) => createHash('sha1').update(body).digest(),
  'x-amz-checksum-sha256': (body) => createHash('sha256').update(body).digest(),
};

/** Throws where the body does not have the SHA-256 that was signed. */
export function checkPayloadHash(body: Buffer, payloadHash: string | null): void {
  if (payloadHash === null) return;
  const computed = createHash('sha256').update(body).digest('hex');
  if (computed === payloadHash) return;
  throw new S3Error(
    'XAmzContentSHA256Mismatch',
    "The provided 'x-amz-content-sha256' header does not match what was computed.",
    { details: { ClientComputedContentSHA256: payloadHash, S3ComputedContentSHA256: computed } },
  );
}

export interface CheckedDigests {
  /** Headers that were found right. */
  readonly checksums: Readonly<Record<string, string>>;
  /** Of the body in hex, where the request named it. */
  readonly md5?: string;
  /** Whether there was any digest. */
  readonly any: boolean;
}

/** Checks Content-MD5 and x-amz-checksum-*. */
export function checkDigests(body: Buffer, headers: Readonly<Record<string, string>>): CheckedDigests {
  const md5 = headers['content-md5'];
  if (md5 !== undefined) {
    if (!/^[A-Za-z0-9+/]{22}==$/.test(md5)) {
      throw new S3Error('InvalidDigest', 'The Content-MD5 you specified was invalid.');
    }
    if (createHash('md5').update(body).digest('base64') !== md5) {
      throw new S3Error('BadDigest', 'The Content-MD5 you specified did not match what we received.');
    }
  }
  const checksums: Record<string, string> = {};
  for (const [name, compute] of Object.entries(CHECKSUM_OF)) {
    const given = headers[name];
    if (given === undefined) continue;
    if (compute(body).toString('base64') !== given) {
      throw new S3Error(
        'BadDigest',
        `The ${name.slice('x-amz-checksum-'.length)} you specified did not match what we received.`,
      );
    }
    checksums[name] = given;
  }
  return {
    checksums,
    ...(md5 === undefined ? {} : { md5: Buffer.from(md5, 'base64').toString('hex') }),
    any: md5 !== undefined || Object.keys(checksums).length > 0,
  };
}
