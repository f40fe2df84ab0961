/** The transmission phase, byte by byte. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { NbdErrno } from '../../../src/nbd/constants.ts';
import {
  decodeRequest,
  encodeDataChunkHeader,
  encodeDoneChunk,
  encodeErrorChunkHeader,
  encodeHoleChunk,
  encodeSimpleReply,
  encodeStatusChunkHeader,
  encodeStatusDescriptor,
  RequestHeader,
  readUInt64,
  writeUInt64,
} from '../../../src/nbd/wire.ts';

/** What `encode` writes into a larger buffer of 0xaa at offset 3, after checking that it wrote nothing else. */
function encoded(length: number, encode: (into: Buffer, at: number) => void): string {
  const into = Buffer.alloc(length + 10, 0xaa);
  encode(into, 3);
  assert.equal(into.toString('hex', 0, 3), 'aaaaaa');
  assert.equal(into.toString('hex', 3 + length), 'aa'.repeat(7));
  return into.toString('hex', 3, 3 + length);
}

test('a request header', () => {
  const bytes = Buffer.from(
    'ff25609513' + '0011' + '0006' + '0123456789abcdef' + '0000001020304050' + 'fffffffe',
    'hex',
  );
  const header = new RequestHeader();
  assert.equal(decodeRequest(bytes, 1, header), true);
  assert.deepEqual({ ...header }, {
    flags: 0x11,
    type: 6,
    cookieHigh: 0x01234567,
    cookieLow: 0x89abcdef,
    offset: 0x1020304050,
    length: 0xfffffffe,
  }); // biome-ignore format: fields
});

test('a request header with another magic is none', () => {
  const bytes = Buffer.alloc(28);
  for (const magic of [0x25609514, 0x21e41c71, 0]) {
    bytes.writeUInt32BE(magic);
    assert.equal(decodeRequest(bytes, 0, new RequestHeader()), false);
  }
});

test('an offset beyond 2^53 is known to be too large', () => {
  const bytes = Buffer.alloc(28, 0xff);
  bytes.writeUInt32BE(0x25609513);
  const header = new RequestHeader();
  decodeRequest(bytes, 0, header);
  assert.ok(header.offset > Number.MAX_SAFE_INTEGER);
});

test('a simple reply', () => {
  const hex = encoded(16, (into, at) => encodeSimpleReply(into, at, NbdErrno.ESHUTDOWN, 0x01234567, 0x89abcdef));
  assert.equal(hex, '67446698' + '0000006c' + '0123456789abcdef');
});

test('a chunk that ends a reply without data', () => {
  const hex = encoded(20, (into, at) => encodeDoneChunk(into, at, 0x01234567, 0xffffffff));
  assert.equal(hex, '668e33ef' + '0001' + '0000' + '01234567ffffffff' + '00000000');
});

test('a data chunk', () => {
  const hex = encoded(28, (into, at) => encodeDataChunkHeader(into, at, 1, 2, 2 ** 40 + 5, 32 * 2 ** 20));
  assert.equal(hex, '668e33ef' + '0001' + '0001' + '0000000100000002' + '02000008' + '0000010000000005');
});

test('a hole', () => {
  const hex = encoded(32, (into, at) => encodeHoleChunk(into, at, 1, 2, 2 ** 40 + 5, 0x1000));
  assert.equal(hex, '668e33ef' + '0001' + '0002' + '0000000100000002' + '0000000c' + '0000010000000005' + '00001000');
});

test('a block status, not the last', () => {
  const hex = encoded(32, (into, at) => {
    encodeStatusChunkHeader(into, at, false, 1, 2, 7, 1);
    encodeStatusDescriptor(into, at + 24, 0xffffffff, 3);
  });
  assert.equal(
    hex,
    '668e33ef' + '0000' + '0005' + '0000000100000002' + '0000000c' + '00000007' + 'ffffffff' + '00000003',
  );
});

test('an error with its text', () => {
  const hex = encoded(26, (into, at) => encodeErrorChunkHeader(into, at, 1, 2, NbdErrno.EIO, 0x102));
  assert.equal(hex, '668e33ef' + '0001' + '8001' + '0000000100000002' + '00000108' + '00000005' + '0102');
});

test('64-bit numbers, up to the largest exact one', () => {
  for (const value of [0, 1, 2 ** 32 - 1, 2 ** 32, 2 ** 40 + 12_345, Number.MAX_SAFE_INTEGER]) {
    const bytes = Buffer.alloc(8);
    writeUInt64(bytes, 0, value);
    assert.equal(bytes.readBigUInt64BE(), BigInt(value));
    assert.equal(readUInt64(bytes, 0), value);
  }
});
