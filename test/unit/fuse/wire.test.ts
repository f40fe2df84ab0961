/** The FUSE structures: what is written can be read, and numbers of 64 bits survive. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import {
  decodeFallocate,
  decodeHeader,
  decodeName,
  decodeSeek,
  decodeSetAttributes,
  decodeTransfer,
  directoryEntryBytes,
  encodeAttributes,
  encodeDirectoryEntry,
  encodeReplyHeader,
  RequestHeader,
  readUInt64,
  TransferRequest,
  writeUInt64,
} from '../../../src/fuse/wire.ts';
import { pack, u32, u64 } from './fake-kernel.ts';

const word = fc.integer({ min: 0, max: 2 ** 32 - 1 });
const exact = fc.maxSafeNat();
const header = Buffer.alloc(40);

test('numbers of 64 bits are exact up to 2^53', () => {
  fc.assert(
    fc.property(exact, (value) => {
      const bytes = Buffer.alloc(8);
      writeUInt64(bytes, 0, value);
      assert.equal(bytes.readBigUInt64LE(0), BigInt(value));
      assert.equal(readUInt64(bytes, 0), value);
    }),
  );
  assert.ok(readUInt64(Buffer.alloc(8, 0xff), 0) >= 2 ** 63);
});

test('requests are taken apart', () => {
  fc.assert(
    fc.property(word, word, word, exact, exact, exact, word, (length, opcode, size, unique, node, offset, flags) => {
      const decoded = new RequestHeader();
      decodeHeader(pack(u32(length), u32(opcode), u64(unique), u64(node), Buffer.alloc(16)), decoded);
      assert.deepEqual(
        [decoded.length, decoded.opcode, decoded.uniqueHigh * 2 ** 32 + decoded.uniqueLow, decoded.node],
        [length, opcode, unique, node],
      );
      const into = new TransferRequest();
      decodeTransfer(pack(header, u64(1), u64(offset), u32(size), u32(2), u64(3), u32(flags), u32(0)), into);
      assert.deepEqual({ ...into }, { offset, size, openFlags: flags });
      const fallocate = pack(header, u64(1), u64(offset), u64(node), u32(flags), u32(0));
      assert.deepEqual(decodeFallocate(fallocate), { offset, length: node, mode: flags });
      assert.deepEqual(decodeSeek(pack(header, u64(1), u64(offset), u32(size), u32(0))), { offset, whence: size });
      const set = pack(
        ...[header, u32(1), u32(0), u64(0), u64(offset), Buffer.alloc(44), u32(2), u32(0), u32(3), u32(4), u32(0)],
      );
      assert.deepEqual(decodeSetAttributes(set), { valid: 1, size: offset, mode: 2, uid: 3, gid: 4 });
    }),
  );
});

test('a name ends at its NUL, or where the request does', () => {
  assert.equal(decodeName(Buffer.concat([header, Buffer.from('media\0rest')]), 51), 'media');
  assert.equal(decodeName(Buffer.concat([header, Buffer.from('mediarest')]), 45), 'media');
  assert.equal(
    decodeName(Buffer.concat([header, Buffer.from('media\0')]), 43),
    'med',
    'a NUL beyond the end is not its',
  );
});

test('replies are put together', () => {
  const reply = Buffer.alloc(16, 0xff);
  encodeReplyHeader(reply, 24, 5, 0xdeadbeef, 0x01020304);
  assert.equal(reply.toString('hex'), '18000000fbffffffefbeadde04030201');
  const entry = Buffer.alloc(directoryEntryBytes(5), 0xff);
  encodeDirectoryEntry(entry, 0, 2, 3, 'media', 5, 0o100600);
  assert.equal(entry.toString('hex'), '020000000000000003000000000000000500000008000000' + '6d65646961000000');
  const attributes = Buffer.alloc(88, 0xff);
  encodeAttributes(attributes, 0, {
    node: 2,
    sizeBytes: 2 ** 40,
    blocks: 3,
    timeMs: 1500.25,
    mode: 0o100600,
    links: 1,
    uid: 4,
    gid: 5,
    blockSizeBytes: 4096,
  });
  const [time, nanoseconds] = [u64(1), u32(500_250_000)];
  assert.deepEqual(
    attributes,
    pack(
      ...[u64(2), u64(2 ** 40), u64(3), time, time, time, nanoseconds, nanoseconds, nanoseconds],
      ...[u32(0o100600), u32(1), u32(4), u32(5), u32(0), u32(4096), u32(0)],
    ),
  );
});
