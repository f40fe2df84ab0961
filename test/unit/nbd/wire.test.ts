/** The transmission phase, byte by byte. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { NbdErrno } from '../../../src/nbd/constants.ts';
import {
  decodeExtendedRequest,
  decodeRequest,
  encodeChunkHeader,
  encodeDataHead,
  encodeErrorHead,
  encodeExtendedChunkHeader,
  encodeHole,
  encodeSimpleReply,
  encodeStatusDescriptor,
  encodeStatusExtDescriptor,
  type ReplyTarget,
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
    ...new RequestHeader(),
    flags: 0x11,
    type: 6,
    cookieHigh: 0x01234567,
    cookieLow: 0x89abcdef,
    offsetHigh: 0x10,
    offsetLow: 0x20304050,
    offset: 0x1020304050,
    length: 0xfffffffe,
    payloadBytes: 0,
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

/** Of cookie 1:2 at an offset of 2^40 + 5. */
const target: ReplyTarget = { cookieHigh: 1, cookieLow: 2, offsetHigh: 0x100, offsetLow: 5 };

test('an extended request: its payload is told by the flag, whatever the command', () => {
  const bytes = Buffer.from(
    '21e41c71' + '0020' + '0007' + '0123456789abcdef' + '0000001020304050' + '0000010000000001',
    'hex',
  );
  const header = new RequestHeader();
  assert.equal(decodeExtendedRequest(bytes, 0, header), true);
  assert.deepEqual({ ...header }, {
    ...new RequestHeader(),
    flags: 0x20,
    type: 7,
    cookieHigh: 0x01234567,
    cookieLow: 0x89abcdef,
    offsetHigh: 0x10,
    offsetLow: 0x20304050,
    offset: 0x1020304050,
    length: 2 ** 40 + 1,
    payloadBytes: 2 ** 40 + 1,
  }); // biome-ignore format: fields
  assert.deepEqual(header.copy(), header);
  bytes.writeUInt16BE(0, 4);
  decodeExtendedRequest(bytes, 0, header);
  assert.equal(header.payloadBytes, 0);
  bytes.writeUInt16BE(1, 6);
  decodeExtendedRequest(bytes, 0, header);
  assert.equal(header.payloadBytes, 2 ** 40 + 1, 'a write always has one');
  bytes.writeUInt32BE(0x25609513);
  assert.equal(decodeExtendedRequest(bytes, 0, header), false);
});

test('lengths and offsets beyond 2^53 are known to be too large, and the offset is kept as it came', () => {
  const bytes = Buffer.alloc(32, 0xff);
  bytes.writeUInt32BE(0x21e41c71);
  const header = new RequestHeader();
  decodeExtendedRequest(bytes, 0, header);
  assert.ok(header.length > Number.MAX_SAFE_INTEGER && header.offset > Number.MAX_SAFE_INTEGER);
  assert.deepEqual([header.offsetHigh, header.offsetLow], [0xffffffff, 0xffffffff]);
});

test('a simple reply', () => {
  const hex = encoded(16, (into, at) => encodeSimpleReply(into, at, NbdErrno.ESHUTDOWN, target));
  assert.equal(hex, '67446698' + '0000006c' + '0000000100000002');
});

test('the header of a structured chunk', () => {
  const last = encoded(20, (into, at) => encodeChunkHeader(into, at, 0, true, target, 0));
  assert.equal(last, '668e33ef' + '0001' + '0000' + '0000000100000002' + '00000000');
  const other = encoded(20, (into, at) => encodeChunkHeader(into, at, 0x8001, false, target, 0xfffffffe));
  assert.equal(other, '668e33ef' + '0000' + '8001' + '0000000100000002' + 'fffffffe');
});

test('the header of an extended chunk tells the offset of the request, and a length of 64 bits', () => {
  const hex = encoded(32, (into, at) => encodeExtendedChunkHeader(into, at, 6, true, target, 0xfffffffe));
  assert.equal(hex, '6e8a278c' + '0001' + '0006' + '0000000100000002' + '0000010000000005' + '00000000fffffffe');
});

test('what stands before data, and a hole', () => {
  assert.equal(encoded(8, (into, at) => encodeDataHead(into, at, target)), '0000010000000005'); // biome-ignore format: one line
  assert.equal(encoded(12, (into, at) => encodeHole(into, at, target, 0x1000)), '0000010000000005' + '00001000'); // biome-ignore format: one line
});

test('status descriptors, of 32 and of 64 bits', () => {
  const compact = encoded(8, (into, at) => encodeStatusDescriptor(into, at, 0xffffffff, 3));
  assert.equal(compact, 'ffffffff' + '00000003');
  const wide = encoded(16, (into, at) => encodeStatusExtDescriptor(into, at, 2 ** 40 + 1, 2));
  assert.equal(wide, '0000010000000001' + '0000000000000002');
});

test('an error with the length of its text', () => {
  assert.equal(encoded(6, (into, at) => encodeErrorHead(into, at, NbdErrno.EIO, 0x102)), '00000005' + '0102'); // biome-ignore format: one line
});

test('64-bit numbers, up to the largest exact one', () => {
  for (const value of [0, 1, 2 ** 32 - 1, 2 ** 32, 2 ** 40 + 12_345, Number.MAX_SAFE_INTEGER]) {
    const bytes = Buffer.alloc(8);
    writeUInt64(bytes, 0, value);
    assert.equal(bytes.readBigUInt64BE(), BigInt(value));
    assert.equal(readUInt64(bytes, 0), value);
  }
});
