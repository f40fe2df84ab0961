/** The lease by itself, on a store that loses answers and a clock driven by hand: who may have it, and when. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { StorageError } from '../../../src/lib/errors.ts';
import { MemoryObjectStore } from '../../../src/object/memory.ts';
import type { ObjectStore } from '../../../src/object/object-store.ts';
import { LeaseClaim } from '../../../src/volume/lease-claim.ts';
import { type LeaseDocument, parseLease } from '../../../src/volume/lease-document.ts';
import { VirtualClock, VirtualTime } from '../../support/virtual-clock.ts';
import { LogBook } from '../../unit/volume/fixtures.ts';
import { HookedStore, lostAnswer, type Operation } from '../../unit/volume/hooked-store.ts';

const KEY = 'vol/bucketdisk-lease.json';
const LIFE_MS = 30_000;
const never = new AbortController().signal;

interface Party {
  readonly claim: LeaseClaim;
  readonly store: HookedStore;
  readonly clock: VirtualClock;
  readonly log: LogBook;
}

function party(
  bucket: ObjectStore,
  clock: VirtualClock,
  options: { instance?: string; takeOver?: boolean; durationMs?: number; token?: string } = {},
): Party {
  const store = new HookedStore(bucket);
  const log = new LogBook();
  const instance = options.instance ?? 'one';
  const claim = new LeaseClaim({
    store,
    key: KEY,
    claimant: { instance, host: `${instance}.example`, pid: 42 },
    durationMs: options.durationMs ?? LIFE_MS,
    token: options.token ?? `token of ${instance}`,
    takeOver: options.takeOver ?? false,
    clock,
    log,
  });
  return { claim, store, clock, log };
}

async function leaseIn(bucket: ObjectStore): Promise<LeaseDocument> {
  const object = await bucket.get(KEY);
  assert.ok(object !== null, 'there is no lease');
  return parseLease(object);
}

function code(expected: string, text?: RegExp): (error: unknown) => boolean {
  return (error) => {
    assert.ok(error instanceof StorageError, String(error));
    assert.equal(error.code, expected, error.message);
    if (text !== undefined) assert.match(error.message, text);
    return true;
  };
}

/** Fails the `nth` put after it has taken effect. */
function loseAnswerOfPut(store: HookedStore, nth: number): void {
  let puts = 0;
  store.after = ({ kind }: Operation) => {
    if (kind === 'put' && ++puts === nth) throw lostAnswer();
  };
}

/** As RetryingObjectStore does: one more try, whose conflict may be with the first. */
class TryingTwice extends HookedStore {
  override async put(...args: Parameters<HookedStore['put']>): ReturnType<HookedStore['put']> {
    try {
      return await super.put(...args);
    } catch (error) {
      if (!(error instanceof StorageError) || !error.retryable) throw error;
      return super.put(...args);
    }
  }
}

describe('acquiring', () => {
  test('a lease that nobody ever had is taken at once', async () => {
    const bucket = new MemoryObjectStore();
    const { claim, clock } = party(bucket, new VirtualClock());
    await claim.acquire(never);
    const lease = await leaseIn(bucket);
    assert.equal(lease.host, 'one.example');
    assert.equal(lease.epoch, 1);
    assert.equal(lease.released, false);
    assert.equal(lease.settling, false);
    assert.equal(clock.time.nowMs, 0);
  });

  test('a released lease is taken at once, by the next epoch', async () => {
    const bucket = new MemoryObjectStore();
    const clock = new VirtualClock();
    const first = party(bucket, clock);
    await first.claim.acquire(never);
    await first.claim.release({ erase: false }, never);
    assert.equal((await leaseIn(bucket)).released, true);
    const second = party(bucket, clock, { instance: 'two' });
    await second.claim.acquire(never);
    const lease = await leaseIn(bucket);
    assert.deepEqual([lease.epoch, lease.instance, lease.released], [2, 'two', false]);
    assert.deepEqual(second.claim.staleTokens, ['token of one']);
  });

  test('the same instance takes its own lease at once: the process that had it is dead', async () => {
    const bucket = new MemoryObjectStore();
    const clock = new VirtualClock();
    await party(bucket, clock).claim.acquire(never);
    await party(bucket, clock).claim.acquire(never);
    assert.equal((await leaseIn(bucket)).epoch, 2);
    assert.equal(clock.time.nowMs, 0);
  });

  for (const wallOffsetMs of [-40 * 365 * 86_400_000, 0, 40 * 365 * 86_400_000]) {
    test(`a dead holder's is taken after a whole life on our clock, ${wallOffsetMs} ms of wall clock apart`, async () => {
      const bucket = new MemoryObjectStore();
      const time = new VirtualTime();
      await party(bucket, new VirtualClock(time)).claim.acquire(never);
      const clock = new VirtualClock(time, Date.UTC(2026, 0, 1) + wallOffsetMs);
      const second = party(bucket, clock, { instance: 'two' });
      const acquiring = second.claim.acquire(never);
      await clock.advance(LIFE_MS - 1);
      assert.equal((await leaseIn(bucket)).instance, 'one');
      await clock.run(acquiring);
      assert.equal(clock.time.nowMs, LIFE_MS);
      assert.equal((await leaseIn(bucket)).instance, 'two');
    });
  }

  test("the longer life counts, the holder's or ours", async () => {
    for (const [theirs, ours] of [
      [90_000, 30_000],
      [30_000, 90_000],
    ] as const) {
      const bucket = new MemoryObjectStore();
      const clock = new VirtualClock();
      await party(bucket, clock, { durationMs: theirs }).claim.acquire(never);
      await clock.run(party(bucket, clock, { instance: 'two', durationMs: ours }).claim.acquire(never));
      assert.equal(clock.time.nowMs, 90_000);
    }
  });

  test('a holder that is alive is not disturbed: HELD as soon as it renews', async () => {
    const bucket = new MemoryObjectStore();
    const clock = new VirtualClock();
    const first = party(bucket, clock);
    await first.claim.acquire(never);
    const second = party(bucket, clock, { instance: 'two' });
    const acquiring = second.claim.acquire(never);
    const refused = assert.rejects(acquiring, code('HELD', /one\.example \(process 42\).*alive.*--take-over/s));
    await clock.advance(LIFE_MS / 3);
    await first.claim.renew(never);
    await clock.advance(LIFE_MS / 6);
    await refused;
    assert.equal(second.store.writes.length, 0, 'the second one must not have written anything');
    await first.claim.renew(never);
  });

  test('a lease released while we wait is ours without waiting on', async () => {
    const bucket = new MemoryObjectStore();
    const clock = new VirtualClock();
    const first = party(bucket, clock);
    await first.claim.acquire(never);
    const acquiring = party(bucket, clock, { instance: 'two' }).claim.acquire(never);
    await clock.advance(LIFE_MS / 3);
    await first.claim.release({ erase: false }, never);
    await clock.run(acquiring);
    assert.ok(clock.time.nowMs < LIFE_MS);
    assert.equal((await leaseIn(bucket)).instance, 'two');
  });

  test('a lease erased while we wait is ours too', async () => {
    const bucket = new MemoryObjectStore();
    const clock = new VirtualClock();
    const first = party(bucket, clock);
    await first.claim.acquire(never);
    const acquiring = party(bucket, clock, { instance: 'two' }).claim.acquire(never);
    await clock.advance(LIFE_MS / 3);
    await first.claim.release({ erase: true }, never);
    assert.equal(await bucket.head(KEY), null);
    await clock.run(acquiring);
    assert.equal((await leaseIn(bucket)).instance, 'two');
  });

  test('of two who wait for the same dead holder one gets the lease, the other is refused once that one renews', async () => {
    const bucket = new MemoryObjectStore();
    const clock = new VirtualClock();
    await party(bucket, clock).claim.acquire(never);
    const waiting = [party(bucket, clock, { instance: 'two' }), party(bucket, clock, { instance: 'three' })];
    const outcomes: string[] = [];
    const all = Promise.all(
      waiting.map(async ({ claim }) => {
        try {
          await claim.acquire(never);
          outcomes.push('acquired');
          for (let renewals = 0; renewals < 5; renewals++) {
            await clock.sleep(LIFE_MS / 3);
            await claim.renew(never);
          }
        } catch (error) {
          outcomes.push(error instanceof StorageError ? error.code : String(error));
        }
      }),
    );
    await clock.run(all);
    assert.deepEqual(outcomes.sort(), ['HELD', 'acquired']);
  });

  test('waiting can be given up', async () => {
    const bucket = new MemoryObjectStore();
    const clock = new VirtualClock();
    await party(bucket, clock).claim.acquire(never);
    const stop = new AbortController();
    const acquiring = party(bucket, clock, { instance: 'two' }).claim.acquire(stop.signal);
    await clock.advance(1000);
    stop.abort();
    await assert.rejects(acquiring, code('CANCELLED'));
    assert.equal(clock.sleeping, 0);
    assert.equal((await leaseIn(bucket)).instance, 'one');
  });

  for (const [name, body] of [
    ['no JSON', 'garbage'],
    ['JSON of another kind', 'null'],
    ['a later version', JSON.stringify({ format: 'bucketdisk-lease', version: 2 })],
    ['a life of no length', JSON.stringify({ format: 'bucketdisk-lease', version: 1, durationMs: 0 })],
    ['nothing', ''],
  ] as const) {
    test(`a lease object that holds ${name} stops everybody, with or without --take-over`, async () => {
      const bucket = new MemoryObjectStore();
      await bucket.put(KEY, Buffer.from(body));
      for (const takeOver of [false, true]) {
        const one = party(bucket, new VirtualClock(), { takeOver });
        await assert.rejects(one.claim.acquire(never), code('INVALID', /vol\/bucketdisk-lease\.json.*delete it if/s));
        assert.equal(one.store.writes.length, 0);
      }
    });
  }
});

describe('taking over', () => {
  test('waits until the old holder can no longer be writing, and says so in the lease meanwhile', async () => {
    const bucket = new MemoryObjectStore();
    const clock = new VirtualClock();
    const first = party(bucket, clock);
    await first.claim.acquire(never);
    const second = party(bucket, clock, { instance: 'two', takeOver: true });
    const acquiring = second.claim.acquire(never);
    await clock.advance(1);
    const settling = await leaseIn(bucket);
    assert.deepEqual([settling.instance, settling.settling], ['two', true]);
    await assert.rejects(first.claim.renew(never), code('FENCED', /two\.example.*has taken the volume/));
    await clock.run(acquiring);
    assert.ok(clock.time.nowMs >= LIFE_MS * 0.9, `it waited only ${clock.time.nowMs} ms`);
    assert.equal((await leaseIn(bucket)).settling, false);
  });

  test("waits by the old holder's life where that is longer", async () => {
    const bucket = new MemoryObjectStore();
    const clock = new VirtualClock();
    await party(bucket, clock, { durationMs: 300_000 }).claim.acquire(never);
    await clock.run(party(bucket, clock, { instance: 'two', takeOver: true }).claim.acquire(never));
    assert.ok(clock.time.nowMs >= 270_000);
    assert.equal((await leaseIn(bucket)).durationMs, LIFE_MS);
  });

  test('of a released lease does not wait', async () => {
    const bucket = new MemoryObjectStore();
    const clock = new VirtualClock();
    const first = party(bucket, clock);
    await first.claim.acquire(never);
    await first.claim.release({ erase: false }, never);
    await clock.run(party(bucket, clock, { instance: 'two', takeOver: true }).claim.acquire(never));
    assert.equal(clock.time.nowMs, 0);
  });

  test('a taker that dies while it waits leaves nobody a lease to write under', async () => {
    const bucket = new MemoryObjectStore();
    const clock = new VirtualClock();
    await party(bucket, clock).claim.acquire(never);
    const stop = new AbortController();
    const dying = party(bucket, clock, { instance: 'two', takeOver: true }).claim.acquire(stop.signal);
    dying.catch(() => {});
    await clock.advance(100);
    stop.abort();
    await assert.rejects(dying, code('CANCELLED'));
    // Started again, the same instance waits like everybody else: the first holder may be writing still.
    const again = party(bucket, clock, { instance: 'two' });
    const acquiring = again.claim.acquire(never);
    await clock.advance(LIFE_MS * 0.9);
    assert.equal(again.store.writes.length, 0);
    await clock.run(acquiring);
    assert.ok(clock.time.nowMs >= LIFE_MS);
  });

  test('from a taker that still waits counts the life of the holder before it', async () => {
    const bucket = new MemoryObjectStore();
    const clock = new VirtualClock();
    await party(bucket, clock, { durationMs: 300_000 }).claim.acquire(never);
    const second = party(bucket, clock, { instance: 'two', takeOver: true });
    const losing = assert.rejects(second.claim.acquire(never), code('FENCED'));
    await clock.advance(1000);
    await clock.run(party(bucket, clock, { instance: 'three', takeOver: true }).claim.acquire(never));
    await losing;
    assert.ok(clock.time.nowMs >= 270_000);
    assert.equal((await leaseIn(bucket)).instance, 'three');
  });
});

describe('lost answers', () => {
  test('of the first PUT, where the store tries again, are settled by reading back', async () => {
    const bucket = new MemoryObjectStore();
    const store = new TryingTwice(bucket);
    loseAnswerOfPut(store, 1);
    const { claim } = party(store, new VirtualClock());
    await claim.acquire(never);
    assert.equal(store.writes.length, 2);
    await claim.renew(never);
    assert.equal((await leaseIn(bucket)).renewal, 1);
  });

  test('of a PUT over a released lease are settled too', async () => {
    const bucket = new MemoryObjectStore();
    const clock = new VirtualClock();
    const first = party(bucket, clock);
    await first.claim.acquire(never);
    await first.claim.release({ erase: false }, never);
    const store = new TryingTwice(bucket);
    loseAnswerOfPut(store, 1);
    const second = party(store, clock, { instance: 'two' });
    await second.claim.acquire(never);
    await second.claim.renew(never);
    assert.equal((await leaseIn(bucket)).epoch, 2);
  });

  test('of a renewal, where the store tries again, are settled by reading back', async () => {
    const bucket = new MemoryObjectStore();
    const store = new TryingTwice(bucket);
    const { claim } = party(store, new VirtualClock());
    await claim.acquire(never);
    loseAnswerOfPut(store, 1);
    await claim.renew(never);
    await claim.renew(never);
    assert.equal((await leaseIn(bucket)).renewal, 2);
  });

  test('of a renewal, where nobody tries again, do not confirm it, and the next renewal goes on from there', async () => {
    const bucket = new MemoryObjectStore();
    const { claim, store } = party(bucket, new VirtualClock());
    await claim.acquire(never);
    loseAnswerOfPut(store, 1);
    await assert.rejects(claim.renew(never), code('TIMEOUT'));
    // This one meets the earlier one, which arrived after all: it is not known since when it stood.
    await assert.rejects(claim.renew(never), code('UNAVAILABLE', /arrived late/));
    await claim.renew(never);
  });

  test('of the release are settled by reading back', async () => {
    const bucket = new MemoryObjectStore();
    const store = new TryingTwice(bucket);
    const { claim, log } = party(store, new VirtualClock());
    await claim.acquire(never);
    loseAnswerOfPut(store, 1);
    await claim.release({ erase: false }, never);
    assert.equal((await leaseIn(bucket)).released, true);
    assert.deepEqual(log.messages('warn'), []);
  });
});

describe('late requests', () => {
  test('a renewal that arrives after the release is refused', async () => {
    const bucket = new MemoryObjectStore();
    const clock = new VirtualClock();
    const { claim, store } = party(bucket, clock);
    await claim.acquire(never);
    const late = Promise.withResolvers<void>();
    store.before = () => late.promise;
    const renewing = claim.renew(never);
    store.before = () => {};
    await claim.release({ erase: false }, never);
    late.resolve();
    await assert.rejects(renewing);
    assert.equal((await leaseIn(bucket)).released, true);
  });

  test('a renewal that was cut off and arrives before the release does not keep the lease alive', async () => {
    const bucket = new MemoryObjectStore();
    const clock = new VirtualClock();
    const { claim, store } = party(bucket, clock);
    await claim.acquire(never);
    const cut = new AbortController();
    store.after = () => {
      cut.abort();
      return new Promise(() => {});
    };
    await assert.rejects(claim.renew(cut.signal), code('CANCELLED'));
    store.after = () => {};
    await claim.release({ erase: false }, never);
    assert.equal((await leaseIn(bucket)).released, true);
  });

  test('an earlier renewal that arrives late does not pass for the one that was asked for', async () => {
    const bucket = new MemoryObjectStore();
    const { claim, store } = party(bucket, new VirtualClock());
    await claim.acquire(never);
    const gate = Promise.withResolvers<void>();
    const cut = new AbortController();
    // The store delivers the first renewal only when the second has been sent.
    let delayed: Promise<unknown> = Promise.resolve();
    const put = bucket.put.bind(bucket);
    store.before = (operation) => {
      if (operation.kind !== 'put') return;
      const { signal: _, ...options } = operation.options;
      delayed = gate.promise.then(() => put(KEY, operation.body ?? Buffer.alloc(0), options));
      return new Promise<void>(() => {});
    };
    const first = assert.rejects(claim.renew(cut.signal), code('CANCELLED'));
    cut.abort();
    await first;
    store.before = async () => {
      gate.resolve();
      await delayed;
    };
    await assert.rejects(claim.renew(never), code('UNAVAILABLE', /arrived late/));
    assert.equal((await leaseIn(bucket)).renewal, 1);
    store.before = () => {};
    await claim.renew(never);
    assert.equal((await leaseIn(bucket)).renewal, 3);
  });

  test('a release after the lease was taken from us changes nothing, and neither does an erase', async () => {
    for (const erase of [false, true]) {
      const bucket = new MemoryObjectStore();
      const clock = new VirtualClock();
      const first = party(bucket, clock);
      await first.claim.acquire(never);
      await clock.run(party(bucket, clock, { instance: 'two', takeOver: true }).claim.acquire(never));
      await first.claim.release({ erase }, never);
      const lease = await leaseIn(bucket);
      assert.deepEqual([lease.instance, lease.released], ['two', false]);
    }
  });
});

describe('renewing', () => {
  test('a deleted lease is lost', async () => {
    const bucket = new MemoryObjectStore();
    const { claim } = party(bucket, new VirtualClock());
    await claim.acquire(never);
    await bucket.delete([KEY]);
    await assert.rejects(claim.renew(never), code('FENCED', /was deleted/));
    assert.equal(await bucket.head(KEY), null, 'a lease that was deleted must not come back');
  });

  test('garbage in its place is not known to be anything, and never overwritten', async () => {
    const bucket = new MemoryObjectStore();
    const { claim } = party(bucket, new VirtualClock());
    await claim.acquire(never);
    await bucket.put(KEY, Buffer.from('garbage'));
    await assert.rejects(claim.renew(never), code('INVALID'));
    await assert.rejects(claim.renew(never), code('INVALID'));
    assert.equal((await bucket.get(KEY))?.body.toString(), 'garbage');
  });

  test('remembers the tokens of the holders before, also of one that died before it set its own', async () => {
    const bucket = new MemoryObjectStore();
    const clock = new VirtualClock();
    await party(bucket, clock, { instance: 'one', token: 'a' }).claim.acquire(never);
    const second = party(bucket, clock, { instance: 'two', token: 'b' });
    await clock.run(second.claim.acquire(never));
    const third = party(bucket, clock, { instance: 'three', token: 'c' });
    await clock.run(third.claim.acquire(never));
    assert.deepEqual(third.claim.staleTokens, ['b', 'a']);
    for (let holder = 0; holder < 20; holder++) {
      await clock.run(party(bucket, clock, { instance: `x${holder}`, token: `x${holder}` }).claim.acquire(never));
    }
    assert.equal((await leaseIn(bucket)).tokens.length, 8);
  });
});
