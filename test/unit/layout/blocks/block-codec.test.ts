/** Blocks to bodies and back: what is written, what is read of mixed volumes, and what is refused. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { deflateRawSync, deflateSync, gzipSync, inflateSync, zstdCompressSync, zstdDecompressSync } from 'node:zlib';
import { BlockCipher } from '../../../../src/layout/blocks/block-cipher.ts';
import {
  BlockCodec,
  type BlockCodecOptions,
  type EncodedBlock,
  parseContentEncoding,
} from '../../../../src/layout/blocks/block-codec.ts';
import type { ObjectData } from '../../../../src/object/object-store.ts';
import { rejectsWith } from '../../../conformance/object-store/suite.ts';
import { type ReferenceKeying, referenceObject, sampleData } from './s3backer-reference.ts';

const BLOCK = 4096;
const KEYING: ReferenceKeying = {
  cipher: 'AES-256-CBC',
  password: 'secret',
  salt: 'bench/enc/',
  keyLengthBytes: 32,
  naturalKeyBytes: 32,
  cipherBlockBytes: 16,
};
const CIPHER = new BlockCipher({ cipher: 'AES-256-CBC', password: 'secret', salt: 'bench/enc/', keyLengthBytes: null });
const DATA = sampleData(BLOCK);

function codec(options: Partial<BlockCodecOptions> = {}): BlockCodec {
  return new BlockCodec({ blockSizeBytes: BLOCK, compress: 'none', compressLevel: null, cipher: null, ...options });
}

function stored({ body, headers }: EncodedBlock): ObjectData {
  return {
    key: 'k',
    sizeBytes: body.length,
    etag: 'e',
    contentType: headers.contentType,
    contentEncoding: headers.contentEncoding,
    metadata: headers.metadata ?? {},
    lastModified: undefined,
    body,
  };
}

function object(body: Buffer, contentEncoding?: string, metadata: Record<string, string> = {}): ObjectData {
  return stored({ body, headers: { ...(contentEncoding === undefined ? {} : { contentEncoding }), metadata } });
}

describe('block codec, writing', () => {
  test('a plain block is its own bytes under exactly the headers of the format', async () => {
    const { body, headers } = await codec().encode(7, DATA);
    assert.deepEqual(body, DATA);
    assert.deepEqual(headers, { contentType: 'application/x-s3backer-block', metadata: {} });
  });

  test('metadata is added to the headers', async () => {
    const metadata = { 's3backer-blocksize': '4096', 's3backer-filesize': '8192' };
    assert.deepEqual((await codec({ compress: 'zstd' }).encode(0, DATA, metadata)).headers, {
      contentType: 'application/x-s3backer-block',
      contentEncoding: 'zstd',
      metadata,
    });
  });

  test('deflate is in zlib framing and heeds its level', async () => {
    const sizes: number[] = [];
    for (const compressLevel of [null, 1, 9, 0]) {
      const { body, headers } = await codec({ compress: 'deflate', compressLevel }).encode(1, DATA);
      assert.equal(body[0], 0x78);
      assert.equal(headers.contentEncoding, 'deflate');
      assert.deepEqual(inflateSync(body), DATA);
      sizes.push(body.length);
    }
    const [, fast = 0, best = 0, none = 0] = sizes;
    assert.ok(best < fast && fast < none, sizes.join(' '));
    assert.ok(none > BLOCK, 'applied even where it grows');
  });

  test('zstd is a frame that tells its size, and heeds its level', async () => {
    const data = Buffer.from(Array.from({ length: 40_000 }, (_, i) => (i * i) >> 7));
    const sizes: number[] = [];
    for (const compressLevel of [null, 1, 19]) {
      const big = codec({ blockSizeBytes: data.length, compress: 'zstd', compressLevel });
      const { body, headers } = await big.encode(1, data);
      assert.equal(body.readUInt32LE(0), 0xfd2fb528);
      assert.equal(headers.contentEncoding, 'zstd');
      assert.deepEqual(zstdDecompressSync(body), data);
      // The frame header's content size flag and field (RFC 8878): decoders that need the size beforehand have it.
      assert.ok(body.readUInt8(4) >> 6 > 0 || (body.readUInt8(4) & 0x20) !== 0);
      sizes.push(body.length);
    }
    assert.ok((sizes[2] ?? 0) < (sizes[1] ?? 0), sizes.join(' '));
  });

  for (const compress of ['none', 'deflate', 'zstd'] as const) {
    test(`encryption over ${compress} compresses first and writes a quoted HMAC`, async () => {
      const { body, headers } = await codec({ compress, cipher: CIPHER }).encode(0x1f, DATA, { a: 'b' });
      const applied = compress === 'none' ? 'deflate' : compress;
      assert.equal(headers.contentEncoding, `${applied}, encrypt-AES-256-CBC`);
      assert.match(headers.metadata?.['s3backer-hmac'] ?? '', /^"[0-9a-f]{40}"$/);
      assert.equal(headers.metadata?.a, 'b');
      const compressed = CIPHER.decrypt(0x1f, body, (headers.metadata?.['s3backer-hmac'] ?? '').slice(1, -1));
      assert.deepEqual(applied === 'zstd' ? zstdDecompressSync(compressed) : inflateSync(compressed), DATA);
    });
  }

  test('deflate, encrypted, is byte for byte what an independent implementation makes', async () => {
    const { body, headers } = await codec({ compress: 'deflate', cipher: CIPHER }).encode(9, DATA);
    const reference = referenceObject({ block: 9, data: DATA, compress: 'deflate', keying: KEYING });
    assert.deepEqual(body, reference.body);
    assert.equal(headers.contentEncoding, reference.contentEncoding);
    assert.deepEqual(headers.metadata, reference.metadata);
    assert.equal(headers.contentType, reference.contentType);
  });

  test('the data handed in is not changed', async () => {
    const before = Buffer.from(DATA);
    for (const compress of ['none', 'deflate', 'zstd'] as const) {
      for (const cipher of [null, CIPHER]) await codec({ compress, cipher }).encode(1, DATA);
    }
    assert.deepEqual(DATA, before);
  });

  test('only what is neither compressed nor encrypted counts as plain', () => {
    assert.equal(codec().writesPlain, true);
    assert.equal(codec({ compress: 'zstd' }).writesPlain, false);
    assert.equal(codec({ cipher: CIPHER }).writesPlain, false);
  });
});

describe('block codec, reading', () => {
  for (const configured of ['none', 'deflate', 'zstd'] as const) {
    for (const written of ['none', 'deflate', 'zstd'] as const) {
      test(`set to ${configured}, what s3backer wrote as ${written} is read`, async () => {
        const reference = referenceObject({ block: 2, data: DATA, compress: written });
        assert.deepEqual(await codec({ compress: configured }).decode(2, reference), DATA);
      });
    }
  }

  for (const compress of ['none', 'deflate', 'zstd'] as const) {
    for (const quoted of [true, false]) {
      test(`encrypted over ${compress}, HMAC ${quoted ? 'quoted' : 'bare'}, is read`, async () => {
        const reference = referenceObject({ block: 77, data: DATA, compress, keying: KEYING, quoted });
        assert.deepEqual(await codec({ cipher: CIPHER }).decode(77, reference), DATA);
      });
    }
  }

  test('a body of another length is corrupt, whatever its encoding', async () => {
    for (const length of [0, 1, BLOCK - 1, BLOCK + 1, 2 * BLOCK]) {
      const data = Buffer.alloc(length, 3);
      await assert.rejects(codec().decode(1, object(data)), rejectsWith('CORRUPT'));
      await assert.rejects(codec().decode(1, object(deflateSync(data), 'deflate')), rejectsWith('CORRUPT'));
      await assert.rejects(codec().decode(1, object(zstdCompressSync(data), 'zstd')), rejectsWith('CORRUPT'));
      const encrypted = referenceObject({ block: 1, data, compress: 'deflate', keying: KEYING });
      await assert.rejects(codec({ cipher: CIPHER }).decode(1, encrypted), rejectsWith('CORRUPT'));
    }
  });

  test('a body that would grow without end is stopped at a block', async () => {
    const huge = Buffer.alloc(64 * 1024 * 1024);
    const before = process.memoryUsage().arrayBuffers;
    for (const [encoding, body] of [
      ['deflate', deflateSync(huge)],
      ['zstd', zstdCompressSync(huge)],
    ] as const) {
      assert.ok(body.length < huge.length / 500);
      await assert.rejects(codec().decode(1, object(body, encoding)), rejectsWith('CORRUPT'));
    }
    assert.ok(process.memoryUsage().arrayBuffers - before < 16 * 1024 * 1024);
  });

  test('a body cut short, with bytes after its end, changed or empty is corrupt', async () => {
    for (const [encoding, body] of [
      ['deflate', deflateSync(DATA)],
      ['zstd', (await codec({ compress: 'zstd' }).encode(1, DATA)).body],
    ] as const) {
      const changed = Buffer.from(body);
      changed[body.length - 3] = (changed[body.length - 3] ?? 0) ^ 0x10;
      for (const bad of [
        body.subarray(0, -1),
        body.subarray(0, 10),
        Buffer.alloc(0),
        Buffer.concat([body, Buffer.from('x')]),
        Buffer.concat([body, Buffer.alloc(4)]),
        Buffer.concat([body, body]),
        changed,
        DATA,
      ]) {
        await assert.rejects(codec().decode(1, object(bad, encoding)), rejectsWith('CORRUPT'), encoding);
      }
    }
  });

  test('other encodings are corrupt, and named', async () => {
    for (const [body, encoding] of [
      [gzipSync(DATA), 'gzip'],
      [deflateRawSync(DATA), 'deflate'],
      [DATA, 'br'],
      [DATA, 'encrypt'],
      [deflateSync(DATA), 'deflate, rot13'],
    ] as const) {
      await assert.rejects(codec().decode(1, object(body, encoding)), rejectsWith('CORRUPT'), encoding);
    }
    await assert.rejects(codec().decode(1, object(DATA, 'br')), /unknown content encoding "br"/);
  });

  test('an encrypted block without a password, or with that of another cipher, is refused and says what is needed', async () => {
    const reference = referenceObject({ block: 1, data: DATA, compress: 'zstd', keying: KEYING });
    await assert.rejects(codec().decode(1, reference), rejectsWith('ACCESS_DENIED'));
    await assert.rejects(codec().decode(1, reference), /encrypted with AES-256-CBC/);
    const options = { cipher: 'AES-128-CBC', password: 'secret', salt: 'bench/enc/', keyLengthBytes: null };
    const other = codec({ cipher: new BlockCipher(options) });
    await assert.rejects(other.decode(1, reference), rejectsWith('ACCESS_DENIED'));
  });

  test('with encryption on, a plain block is refused', async () => {
    for (const compress of ['none', 'deflate', 'zstd'] as const) {
      const reference = referenceObject({ block: 1, data: DATA, compress });
      await assert.rejects(codec({ cipher: CIPHER }).decode(1, reference), rejectsWith('ACCESS_DENIED'));
    }
  });

  test('one block put in the place of another is refused', async () => {
    const reference = referenceObject({ block: 1, data: DATA, compress: 'zstd', keying: KEYING });
    await assert.rejects(codec({ cipher: CIPHER }).decode(2, reference), rejectsWith('ACCESS_DENIED'));
  });

  test('an encrypted block without HMAC is corrupt', async () => {
    const reference = referenceObject({ block: 1, data: DATA, compress: 'zstd', keying: KEYING });
    const bare = { ...reference, metadata: {} };
    await assert.rejects(codec({ cipher: CIPHER }).decode(1, bare), rejectsWith('CORRUPT'));
  });

  test('an error names the object', async () => {
    await assert.rejects(codec().decode(1, { ...object(DATA, 'br'), key: 'vol/00000001' }), /vol\/00000001/);
  });
});

test('Content-Encoding is a list in the order applied', () => {
  assert.deepEqual(parseContentEncoding(undefined), []);
  assert.deepEqual(parseContentEncoding(''), []);
  assert.deepEqual(parseContentEncoding('identity'), []);
  assert.deepEqual(parseContentEncoding('deflate'), ['deflate']);
  assert.deepEqual(parseContentEncoding('deflate,encrypt-AES-128-CBC'), ['deflate', 'encrypt-AES-128-CBC']);
  assert.deepEqual(parseContentEncoding(' zstd ,  encrypt-X, '), ['zstd', 'encrypt-X']);
});
