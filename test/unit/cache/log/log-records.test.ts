/** Records in memory: rings that grow, wrap and forget, against a list. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { DATA, pagesTouched, RECORD_HEADER_BYTES, ZERO } from '../../../../src/cache/log/log-record.ts';
import { LogRecords, type NewRecord } from '../../../../src/cache/log/log-records.ts';

const add = fc.record({
  do: fc.constant('add' as const),
  count: fc.integer({ min: 1, max: 300 }),
  zero: fc.boolean(),
  pages: fc.integer({ min: 1, max: 130 }),
});
const drop = fc.record({ do: fc.constant('drop' as const), share: fc.double({ min: 0, max: 1, noNaN: true }) });

test('what was added is there until it is dropped, whatever was added and dropped in between', () => {
  fc.assert(
    fc.property(
      fc.constantFrom(0, 1, 255, 2 ** 40),
      fc.array(fc.oneof({ weight: 2, arbitrary: add }, drop), { maxLength: 20 }),
      (start, steps) => {
        const records = new LogRecords(start);
        const model = new Map<number, { record: NewRecord; checksums: number[] }>();
        let seed = 1;
        for (const step of steps) {
          if (step.do === 'drop') {
            const first = records.first + Math.floor((records.end - records.first) * step.share);
            records.dropBefore(first);
            for (const number of model.keys()) if (number < first) model.delete(number);
            records.dropBefore(first - 1);
          }
          for (let count = step.do === 'add' ? step.count : 0; count > 0; count--) {
            seed = Math.imul(seed, 1_103_515_245) + 12_345;
            const length = step.do === 'add' ? step.pages * 4096 - 7 : 0;
            const record: NewRecord = {
              position: start * 64 + (seed >>> 0),
              kind: step.do === 'add' && step.zero ? ZERO : DATA,
              offset: (seed >>> 0) * 4096 + (seed & 0xfff),
              length,
              previousChecksum: seed >>> 0,
              atMs: seed >>> 1,
            };
            const number = records.add(record);
            const checksums = Array.from(
              { length: record.kind === DATA ? pagesTouched(record.offset, length) : 0 },
              (_, index) => (seed + index) >>> 0,
            );
            checksums.forEach((checksum, index) => {
              records.setChecksum(number, index, checksum);
            });
            model.set(number, { record, checksums });
          }
        }
        assert.equal(records.end - records.first, model.size);
        for (const [number, { record, checksums }] of model) {
          assert.ok(number >= records.first && number < records.end);
          assert.equal(records.position(number), record.position);
          assert.equal(records.kind(number), record.kind);
          assert.equal(records.offset(number), record.offset);
          assert.equal(records.length(number), record.length);
          assert.equal(records.previousChecksum(number), record.previousChecksum);
          assert.equal(records.appendedAtMs(number), record.atMs);
          assert.equal(records.dataPosition(number), record.position + RECORD_HEADER_BYTES + 4 * checksums.length);
          assert.deepEqual(
            checksums.map((_, index) => records.checksum(number, index)),
            checksums,
          );
        }
      },
    ),
    { numRuns: 60 },
  );
});

test('nothing is dropped past the end, and a number goes on where it was', () => {
  const records = new LogRecords(5);
  records.dropBefore(9);
  assert.deepEqual([records.first, records.end], [5, 5]);
  const record = { position: 0, kind: ZERO, offset: 0, length: 4096, previousChecksum: 0, atMs: 0 } as const;
  assert.equal(records.add(record), 5);
  records.dropBefore(100);
  assert.deepEqual([records.first, records.end], [6, 6]);
  assert.equal(records.add(record), 6);
});
