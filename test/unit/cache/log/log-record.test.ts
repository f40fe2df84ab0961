/** The codec of records: what is written is read, and nothing else is ever taken for a record. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import {
  DATA,
  dataRecordBytes,
  decodeRecordHeader,
  encodeRecordHeader,
  pagePart,
  pagesTouched,
  RECORD_HEADER_BYTES,
  RecordHeader,
  readChecksum,
  writeChecksum,
  ZERO,
} from '../../../../src/cache/log/log-record.ts';
import { PAGE_BYTES } from '../../../../src/cache/page.ts';
import { SALT } from './fixtures.ts';

const PIB = 2 ** 50;
const u32 = fc.nat({ max: 0xffff_ffff });
const position = fc.nat({ max: 2 ** 52 });
const range = fc.record({ offset: fc.nat({ max: 8 * PIB - 600_000 }), length: fc.integer({ min: 1, max: 600_000 }) });
const header = fc.record({
  position,
  number: position,
  durablePosition: position,
  life: u32,
  previousChecksum: u32,
  range,
  kind: fc.constantFrom<typeof DATA | typeof ZERO>(DATA, ZERO),
  at: fc.constantFrom(0, 8, 4096),
});

function encoded(fields: typeof header extends fc.Arbitrary<infer T> ? T : never): {
  bytes: Buffer;
  from: RecordHeader;
} {
  const { range: where, at, ...rest } = fields;
  const checksumCount = fields.kind === DATA ? pagesTouched(where.offset, where.length) : 0;
  const from = Object.assign(new RecordHeader(), rest, where, { checksumCount });
  const bytes = Buffer.alloc(at + RECORD_HEADER_BYTES + checksumCount * 4);
  for (let index = 0; index < checksumCount; index++) writeChecksum(bytes, at, index, (index * 77 + 5) >>> 0);
  encodeRecordHeader(bytes, at, from, SALT);
  return { bytes, from };
}

test('a header is read as it was written, wherever it stands, on volumes of any size', () => {
  fc.assert(
    fc.property(header, (fields) => {
      const { bytes, from } = encoded(fields);
      const into = new RecordHeader();
      assert.ok(decodeRecordHeader(bytes, fields.at, fields.position, SALT, into));
      assert.deepEqual({ ...into }, { ...from });
      for (let index = 0; index < from.checksumCount; index++) {
        assert.equal(readChecksum(bytes, fields.at, index), (index * 77 + 5) >>> 0);
      }
    }),
  );
});

test('a bit that has flipped anywhere in it, another position, another log: no record', () => {
  fc.assert(
    fc.property(header, fc.nat(), (fields, where) => {
      const { bytes } = encoded(fields);
      const into = new RecordHeader();
      assert.ok(!decodeRecordHeader(bytes, fields.at, fields.position + 8, SALT, into));
      assert.ok(!decodeRecordHeader(bytes, fields.at, fields.position, SALT + 1, into));
      const bit = where % ((bytes.length - fields.at) * 8);
      const byte = fields.at + (bit >> 3);
      bytes[byte] = (bytes[byte] as number) ^ (1 << (bit & 7));
      assert.ok(!decodeRecordHeader(bytes, fields.at, fields.position, SALT, into));
    }),
  );
});

test('cut off anywhere: no record, and nothing is read past the end', () => {
  fc.assert(
    fc.property(header, fc.double({ min: 0, max: 0.9999, noNaN: true }), (fields, share) => {
      const { bytes } = encoded(fields);
      const length = fields.at + Math.floor((bytes.length - fields.at) * share);
      assert.ok(!decodeRecordHeader(bytes.subarray(0, length), fields.at, fields.position, SALT, new RecordHeader()));
    }),
  );
});

test('hostile bytes never throw and are never taken for a record', () => {
  const magic = Buffer.from('BDL1');
  fc.assert(
    fc.property(fc.uint8Array({ minLength: 0, maxLength: 4096 }), fc.nat({ max: 64 }), (random, at) => {
      const bytes = Buffer.concat([Buffer.alloc(at), magic, random]);
      assert.ok(!decodeRecordHeader(bytes, at, 0, SALT, new RecordHeader()));
    }),
    { numRuns: 300 },
  );
});

test('a header that is whole but says what cannot be: no record', () => {
  const whole = (overrides: Partial<RecordHeader>): boolean => {
    const from = Object.assign(
      new RecordHeader(),
      { position: 4096, number: 1, offset: 0, length: PAGE_BYTES, kind: DATA, checksumCount: 1 },
      overrides,
    );
    const bytes = Buffer.alloc(8192);
    encodeRecordHeader(bytes, 0, from, SALT);
    return decodeRecordHeader(bytes, 0, 4096, SALT, new RecordHeader());
  };
  assert.ok(whole({}));
  assert.ok(whole({ kind: ZERO, checksumCount: 0, length: 8 * PIB }));
  const impossible: Partial<RecordHeader>[] = [
    { length: 0 },
    { length: -1 },
    { length: Number.NaN },
    { length: 1.5 },
    { length: Number.POSITIVE_INFINITY, kind: ZERO, checksumCount: 0 },
    { offset: Number.NaN, kind: ZERO, checksumCount: 0 },
    { offset: -4096, kind: ZERO, checksumCount: 0 },
    { offset: Number.MAX_SAFE_INTEGER, kind: ZERO, checksumCount: 0 },
    { number: Number.NaN },
    { number: -1 },
    { durablePosition: Number.NaN },
    { kind: 3 as typeof DATA },
    { checksumCount: 2 },
    { checksumCount: 0 },
    { kind: ZERO, checksumCount: 1 },
    { checksumCount: 1000 },
  ];
  for (const overrides of impossible) assert.ok(!whole(overrides), JSON.stringify(overrides));
});

test('the parts of pages cover the data exactly, each within one page', () => {
  fc.assert(
    fc.property(range, ({ offset, length }) => {
      const count = pagesTouched(offset, length);
      assert.equal(dataRecordBytes(offset, length), RECORD_HEADER_BYTES + 4 * count + length);
      let at = 0;
      for (let index = 0; index < count; index++) {
        const { from, to } = pagePart(offset, length, index);
        assert.equal(from, at);
        assert.ok(to > from);
        assert.equal(Math.floor((offset + from) / PAGE_BYTES), Math.floor((offset + to - 1) / PAGE_BYTES));
        at = to;
      }
      assert.equal(at, length);
    }),
  );
});
