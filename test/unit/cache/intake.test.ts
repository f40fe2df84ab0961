/** Requests that wait for room: in order, slowed as the log fills, given up when the volume is closed. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Intake, type IntakeJob } from '../../../src/cache/intake.ts';
import { StorageError } from '../../../src/lib/errors.ts';
import { settle, VirtualClock } from '../../support/virtual-clock.ts';

class Bench {
  readonly clock = new VirtualClock();
  fullness = 0;
  /** Steps that are still refused. */
  refused = 0;
  roomError: StorageError | null = null;
  rooms: PromiseWithResolvers<void>[] = [];
  readonly done: string[] = [];
  readonly intake = new Intake({
    clock: this.clock,
    fullness: () => this.fullness,
    room: async (signal) => {
      if (this.roomError !== null) throw this.roomError;
      const room = Promise.withResolvers<void>();
      signal.addEventListener('abort', () => room.resolve(), { once: true });
      this.rooms.push(room);
      await room.promise;
    },
  });

  job(name: string, bytes = 4096, offset = 0): IntakeJob {
    return {
      offset,
      end: offset + bytes,
      bytes,
      step: () => {
        if (this.refused > 0) {
          this.refused--;
          return false;
        }
        this.done.push(name);
        return true;
      },
    };
  }

  giveRoom(): void {
    for (const { resolve } of this.rooms.splice(0)) resolve();
  }
}

test('in the order they came, also those that would have had room before', async () => {
  const bench = new Bench();
  bench.refused = 2;
  const all = ['a', 'b', 'c'].map((name) => bench.intake.enqueue(bench.job(name)));
  await settle();
  assert.deepEqual(bench.done, []);
  assert.equal(bench.intake.length, 3);
  assert.ok(!bench.intake.isOpen);
  bench.giveRoom();
  await settle();
  assert.deepEqual(bench.done, [], 'tried again, and refused again');
  bench.giveRoom();
  await Promise.all(all);
  assert.deepEqual(bench.done, ['a', 'b', 'c']);
  assert.ok(bench.intake.isOpen);
});

test('whoever reads what waits is told so', async () => {
  const bench = new Bench();
  bench.refused = 1;
  const waiting = bench.intake.enqueue(bench.job('a', 4096, 8192));
  assert.ok(bench.intake.overlaps(8191, 8193));
  assert.ok(bench.intake.overlaps(12287, 20000));
  assert.ok(!bench.intake.overlaps(0, 8192));
  assert.ok(!bench.intake.overlaps(12288, 20000));
  await settle();
  bench.giveRoom();
  await waiting;
  assert.ok(!bench.intake.overlaps(0, 1e9));
});

test('a step that throws, or room that is not to be had, fails that one and not those behind it', async () => {
  const bench = new Bench();
  const broken: IntakeJob = {
    ...bench.job('broken'),
    step: () => {
      throw new StorageError('CORRUPT', 'damaged');
    },
  };
  const [first, second] = [bench.intake.enqueue(broken), bench.intake.enqueue(bench.job('b'))];
  await assert.rejects(first, { code: 'CORRUPT' });
  await second;
  bench.refused = 1;
  bench.roomError = new StorageError('UNAVAILABLE', 'the disk fails');
  const [third, fourth] = [bench.intake.enqueue(bench.job('c')), bench.intake.enqueue(bench.job('d'))];
  await assert.rejects(third, { code: 'UNAVAILABLE' });
  await fourth;
  assert.deepEqual(bench.done, ['b', 'd']);
});

test('slower the fuller the log is, by what is written; flushes and zeroings are not slowed', async () => {
  const waits: number[] = [];
  for (const fullness of [0.5, 0.7, 0.75, 0.85, 0.95, 0.999]) {
    const bench = new Bench();
    bench.fullness = fullness;
    const startedAt = bench.clock.now();
    await bench.clock.run(bench.intake.enqueue(bench.job('a', 1024 * 1024)));
    waits.push(bench.clock.now() - startedAt);
    const before = bench.clock.now();
    await bench.clock.run(bench.intake.enqueue(bench.job('flush', 0)));
    assert.equal(bench.clock.now(), before);
  }
  assert.deepEqual(waits.slice(0, 2), [0, 0]);
  for (let at = 3; at < waits.length; at++) assert.ok((waits[at] ?? 0) > (waits[at - 1] ?? 0), waits.join(' '));
  assert.ok(waits.every((ms) => ms <= 1000));
});

test('pauses too short for a timer add up over many small writes', async () => {
  const bench = new Bench();
  bench.fullness = 0.8;
  const startedAt = bench.clock.now();
  for (let count = 0; count < 200; count++) await bench.clock.run(bench.intake.enqueue(bench.job('a', 4096)));
  const waitedMs = bench.clock.now() - startedAt;
  assert.ok(waitedMs >= 5 && waitedMs <= 200, `${waitedMs} ms`);
});

test('given up: those that wait and those behind them fail, whatever room there is, and none takes effect', async () => {
  const bench = new Bench();
  bench.refused = 1;
  const all = ['a', 'b', 'c'].map((name) =>
    bench.intake.enqueue(bench.job(name)).then(
      () => 'ok',
      (error: StorageError) => error.code,
    ),
  );
  await settle();
  bench.intake.stop();
  assert.deepEqual(await Promise.all(all), ['CANCELLED', 'CANCELLED', 'CANCELLED']);
  assert.deepEqual(bench.done, []);
  await bench.intake.idle();
});

test('given up in the middle of a pause: at once', async () => {
  const bench = new Bench();
  bench.fullness = 0.99;
  const slowed = bench.intake.enqueue(bench.job('a', 1024 * 1024));
  await settle();
  const before = bench.clock.now();
  bench.intake.stop();
  await assert.rejects(slowed, { code: 'CANCELLED' });
  assert.equal(bench.clock.now(), before);
});
