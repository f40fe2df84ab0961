/** What fio is asked, and what it answers. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { flushedWritesLog, parseFio } from '../../bench/fio.ts';

const job = { blockBytes: 4096, depth: 32, sizeBytes: 1024 * 1024, writesPerFlush: 32, seconds: 1 };

test('there is one flush after every so many writes, all inside the disk and aligned', () => {
  const lines = flushedWritesLog('disk', job, 1000).trimEnd().split('\n');
  assert.deepEqual(lines.slice(0, 3), ['fio version 2 iolog', 'disk add', 'disk open']);
  assert.equal(lines.at(-1), 'disk close');
  const requests = lines.slice(3, -1);
  requests.forEach((line, index) => {
    if (index % 33 === 32) assert.equal(line, 'disk sync 0 0');
    else assert.match(line, /^disk write \d+ 4096$/);
  });
  const offsets = requests.filter((line) => line.includes('write')).map((line) => Number(line.split(' ')[2]));
  assert.equal(offsets.length, 1000);
  assert.ok(offsets.every((offset) => offset % 4096 === 0 && offset < job.sizeBytes));
  assert.ok(new Set(offsets).size > 200, 'they are spread over the disk');
});

test('both sides of a comparison are asked for the same', () => {
  assert.equal(flushedWritesLog('disk', job, 100), flushedWritesLog('disk', job, 100));
});

const direction = { total_ios: 0, iops: 0, bw_bytes: 0, clat_ns: {} };

function report(changes: object): string {
  return `fio: connected to NBD server\n${JSON.stringify({
    jobs: [{ error: 0, read: direction, write: direction, sync: {}, ...changes }],
  })}`;
}

test('a report is read past the greeting of the engine', () => {
  const write = {
    total_ios: 640,
    iops: 320,
    bw_bytes: 1_310_720,
    clat_ns: { percentile: { '50.000000': 250_000, '99.000000': 900_000 } },
  };
  const sync = { total_ios: 20, lat_ns: { percentile: { '50.000000': 1_500_000 } } };
  assert.deepEqual(parseFio(report({ write, sync })), {
    operations: 640,
    opsPerSecond: 320,
    bytesPerSecond: 1_310_720,
    latencyP50Us: 250,
    latencyP99Us: 900,
    flushes: 20,
    flushP50Us: 1500,
  });
  const read = { ...write, total_ios: 5 };
  assert.equal(parseFio(report({ read })).operations, 5);
});

test('an error in a report is one here', () => {
  assert.throws(() => parseFio(report({ error: 5 })), /error 5/);
  assert.throws(() => parseFio('fio: nothing'));
});
