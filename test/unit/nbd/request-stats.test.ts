/** What is counted of requests: by command and result, whatever number a client makes up for a command. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { TIMED_INTERVAL } from '../../../src/lib/request-tally.ts';
import { Command, NbdErrno } from '../../../src/nbd/constants.ts';
import { RequestStats, RequestStatsTable } from '../../../src/nbd/request-stats.ts';

const sum = (counts: readonly number[]): number => counts.reduce((total, count) => total + count, 0);

test('tells each command by how it ended, with its bytes; what was refused has no latency', () => {
  const stats = new RequestStats();
  const startedMs = performance.now();
  stats.succeeded(Command.READ, 4096, startedMs);
  stats.succeeded(Command.READ, 8192, startedMs);
  stats.failed(Command.READ, NbdErrno.EIO, startedMs);
  stats.refused(Command.READ, NbdErrno.EINVAL);
  stats.abandoned(Command.WRITE, startedMs);
  const [read, write, ...others] = stats.snapshot();
  assert.deepEqual(others, []);
  assert.equal(read?.command, 'read');
  assert.equal(read.bytes, 12_288);
  assert.deepEqual(read.results, [
    { result: 'ok', count: 2 },
    { result: 'EIO', count: 1 },
    { result: 'EINVAL', count: 1 },
  ]);
  assert.equal(sum(read.latencyCounts), 3);
  assert.ok(read.latencySumSeconds >= 0);
  assert.deepEqual(write?.results, [{ result: 'abandoned', count: 1 }]);
  assert.equal(write.bytes, 0);
});

test('of reads and of writes one in so many is timed, of everything else each, and all are counted', () => {
  const stats = new RequestStats();
  const rounds = 10 * TIMED_INTERVAL;
  // As a disk is often used: always in the same order.
  for (let round = 0; round < rounds; round++) {
    for (const command of [Command.READ, Command.WRITE, Command.FLUSH]) {
      stats.succeeded(command, 0, stats.start(command));
    }
  }
  const told = stats
    .snapshot()
    .map(({ command, results, latencyCounts }) => [command, results[0]?.count, sum(latencyCounts)]);
  assert.deepEqual(told, [
    ['read', rounds, 10],
    ['write', rounds, 10],
    ['flush', rounds, rounds],
  ]);
});

test('the first read is timed, also where it is the only one, and one that fails or is abandoned too', () => {
  for (const end of ['failed', 'abandoned'] as const) {
    const stats = new RequestStats();
    const startedMs = stats.start(Command.READ);
    if (end === 'failed') stats.failed(Command.READ, NbdErrno.EIO, startedMs);
    else stats.abandoned(Command.READ, startedMs);
    const untimed = stats.start(Command.READ);
    if (end === 'failed') stats.failed(Command.READ, NbdErrno.EIO, untimed);
    else stats.abandoned(Command.READ, untimed);
    const [read] = stats.snapshot();
    assert.deepEqual([read?.results[0]?.count, sum(read?.latencyCounts ?? [])], [2, 1]);
  }
});

test('every errno there is has a name of its own, and numbers that are no command are one', () => {
  const stats = new RequestStats();
  const errnos = Object.values(NbdErrno).filter((errno) => errno !== NbdErrno.NONE);
  for (const errno of errnos) for (const command of [8, 77, 65_535]) stats.refused(command, errno);
  const [other, ...others] = stats.snapshot();
  assert.deepEqual(others, []);
  assert.equal(other?.command, 'other');
  const names = Object.keys(NbdErrno).filter((name) => name !== 'NONE');
  assert.deepEqual(
    other.results,
    names.map((result) => ({ result, count: 3 })),
  );
});

test('an export has the same counters whoever comes', () => {
  const table = new RequestStatsTable();
  table.of('one').refused(Command.FLUSH, NbdErrno.ESHUTDOWN);
  table.of('one').refused(Command.FLUSH, NbdErrno.ESHUTDOWN);
  table.of('two');
  assert.deepEqual(
    table.snapshot().map(({ export: name, commands }) => [name, commands[0]?.results]),
    [
      ['one', [{ result: 'ESHUTDOWN', count: 2 }]],
      ['two', undefined],
    ],
  );
});
