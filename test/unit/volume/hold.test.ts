/** Holding a volume: what is permitted when, as clocks, claims and stores go wrong; and that nothing stays behind. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { StorageError } from '../../../src/lib/errors.ts';
import type { Claim } from '../../../src/volume/claim.ts';
import { Hold } from '../../../src/volume/hold.ts';
import { VirtualClock } from '../../support/virtual-clock.ts';
import { LIFE_MS, LogBook, never } from './fixtures.ts';
import { unreachable } from './hooked-store.ts';

const PERMITTED_MS = LIFE_MS * 0.8;

/** A claim that does as it is told, and notes what was asked of it. */
class ToldClaim implements Claim {
  readonly asked: string[] = [];
  readonly #name: string;
  readonly #journal: string[];
  onAcquire: () => Promise<void> | void = () => {};
  onRenew: (signal: AbortSignal) => Promise<void> | void = () => {};
  onRelease: (signal: AbortSignal) => Promise<void> | void = () => {};

  constructor(name = 'claim', journal: string[] = []) {
    this.#name = name;
    this.#journal = journal;
  }

  async acquire(): Promise<void> {
    this.#note('acquire');
    await this.onAcquire();
  }

  async renew(signal: AbortSignal): Promise<void> {
    this.#note('renew');
    await this.onRenew(signal);
  }

  async release({ erase }: { readonly erase: boolean }, signal: AbortSignal): Promise<void> {
    this.#note(erase ? 'erase' : 'release');
    await this.onRelease(signal);
  }

  #note(what: string): void {
    this.asked.push(what);
    this.#journal.push(`${this.#name} ${what}`);
  }
}

function setup(claims: readonly Claim[], clock = new VirtualClock()) {
  const log = new LogBook();
  const lost: StorageError[] = [];
  const hold = new Hold({ claims, durationMs: LIFE_MS, clock, log, onLost: (error) => lost.push(error) });
  return { hold, clock, log, lost };
}

/** As a store does that waits for an answer until it is told not to. */
function untilAborted(signal: AbortSignal): Promise<never> {
  return new Promise((_, reject) => {
    const end = (): void => reject(new StorageError('CANCELLED', 'cancelled'));
    if (signal.aborted) end();
    else signal.addEventListener('abort', end, { once: true });
  });
}

function fenced(): StorageError {
  return new StorageError('FENCED', 'another.example has taken the volume');
}

describe('acquiring', () => {
  test('makes the claims in order, permits writing, and renews at a third of the life', async () => {
    const journal: string[] = [];
    const { hold, clock } = setup([new ToldClaim('lease', journal), new ToldClaim('token', journal)]);
    assert.equal(hold.valid, false);
    await hold.acquire(never);
    assert.equal(hold.valid, true);
    await clock.advance(LIFE_MS);
    assert.deepEqual(journal.slice(0, 4), ['lease acquire', 'token acquire', 'lease renew', 'token renew']);
    assert.ok(hold.confirmedAgoMs <= LIFE_MS / 3);
    await hold.release();
  });

  test('gives back in reverse order what it had when a later claim is refused', async () => {
    const journal: string[] = [];
    const token = new ToldClaim('token', journal);
    token.onAcquire = () => {
      throw new StorageError('HELD', 's3backer has it');
    };
    const { hold, clock } = setup([new ToldClaim('lease', journal), new ToldClaim('other', journal), token]);
    await assert.rejects(hold.acquire(never), { code: 'HELD' });
    assert.deepEqual(journal.slice(-2), ['other release', 'lease release']);
    assert.equal(hold.valid, false);
    assert.equal(clock.sleeping, 0);
  });

  test('gives back everything when the first renewal after a long wait fails', async () => {
    const claim = new ToldClaim();
    const { hold, clock } = setup([claim]);
    claim.onAcquire = () => clock.sleep(LIFE_MS);
    claim.onRenew = () => {
      throw unreachable();
    };
    await assert.rejects(clock.run(hold.acquire(never)), { code: 'UNAVAILABLE' });
    assert.deepEqual(claim.asked, ['acquire', 'renew', 'release']);
    assert.equal(clock.sleeping, 0);
  });

  test('waits for the first renewal after a long wait as long as the store tries', async () => {
    const claim = new ToldClaim();
    const { hold, clock } = setup([claim]);
    claim.onAcquire = () => clock.sleep(LIFE_MS);
    claim.onRenew = (signal) => clock.sleep(LIFE_MS / 2, signal);
    await clock.run(hold.acquire(never));
    assert.equal(hold.confirmedAgoMs, LIFE_MS / 2);
    assert.equal(hold.valid, true);
    await hold.release();
  });

  test('after a long wait counts from a renewal, not from before the wait', async () => {
    const claim = new ToldClaim();
    const { hold, clock } = setup([claim]);
    claim.onAcquire = () => clock.sleep(LIFE_MS);
    await clock.run(hold.acquire(never));
    assert.equal(hold.valid, true);
    assert.equal(hold.confirmedAgoMs, 0);
    await hold.release();
  });
});

describe('renewals that fail', () => {
  test('are tried again; writing ends after four fifths of the life, and goes on once confirmed', async () => {
    const claim = new ToldClaim();
    const { hold, clock, log, lost } = setup([claim]);
    await hold.acquire(never);
    claim.onRenew = () => {
      throw unreachable();
    };
    const { lapse } = hold;
    await clock.advance(PERMITTED_MS - 1);
    assert.equal(hold.valid, true);
    assert.equal(lapse.aborted, false);
    await clock.advance(1);
    assert.equal(hold.valid, false);
    assert.equal(lapse.aborted, true, 'what is being written must be cut off');
    let waited = false;
    const permitted = hold.permitted().then(() => {
      waited = true;
    });
    await clock.advance(10 * LIFE_MS);
    assert.equal(waited, false);
    assert.equal(hold.lost, null, 'not being able to reach the store is not having lost the volume');
    claim.onRenew = () => {};
    await clock.run(permitted);
    assert.equal(hold.valid, true);
    assert.equal(hold.lapse.aborted, false);
    assert.deepEqual(lost, []);
    assert.equal(
      log.messages('warn').filter((line) => line.includes('could not be renewed')).length,
      1,
      'a failing store is told of once',
    );
    await hold.release();
  });

  test('without an answer are given up after a third of the life', async () => {
    const claim = new ToldClaim();
    const { hold, clock } = setup([claim]);
    await hold.acquire(never);
    claim.onRenew = untilAborted;
    await clock.advance(LIFE_MS);
    assert.ok(claim.asked.filter((what) => what === 'renew').length >= 2);
    claim.onRenew = () => {};
    await clock.advance(LIFE_MS);
    assert.equal(hold.valid, true);
    await hold.release();
  });

  test('a renewal counts from when it was begun, not from when it was answered', async () => {
    const claim = new ToldClaim();
    const { hold, clock } = setup([claim]);
    await hold.acquire(never);
    const slowMs = 9000;
    claim.onRenew = () => clock.sleep(slowMs);
    await clock.advance(LIFE_MS / 3 + slowMs);
    assert.equal(hold.confirmedAgoMs, slowMs);
    claim.onRenew = untilAborted;
    await clock.advance(PERMITTED_MS - slowMs);
    assert.equal(hold.valid, false);
    await hold.release();
  });

  test('an answer that comes after the permission has ended does not bring back what is over', async () => {
    const claim = new ToldClaim();
    const { hold, clock } = setup([claim]);
    await hold.acquire(never);
    const gate = Promise.withResolvers<void>();
    // Begun at a third of the life; this store does not listen when it is told to stop.
    claim.onRenew = () => gate.promise;
    await clock.advance(LIFE_MS / 3 + PERMITTED_MS + 1);
    claim.onRenew = untilAborted;
    gate.resolve();
    await clock.advance(0);
    assert.equal(hold.valid, false);
    await hold.release();
  });
});

describe('clocks', () => {
  test('a suspended machine is not permitted to write when it wakes, though its monotonic clock stood still', async () => {
    const claim = new ToldClaim();
    const { hold, clock } = setup([claim]);
    await hold.acquire(never);
    claim.onRenew = untilAborted;
    const { lapse } = hold;
    await clock.advance(1000);
    clock.suspend();
    await clock.advance(10 * LIFE_MS);
    await clock.resume();
    assert.ok(hold.confirmedAgoMs < 2000, 'the monotonic clock knows nothing');
    assert.equal(hold.valid, false);
    await clock.advance(LIFE_MS / 30);
    assert.equal(
      lapse.aborted,
      true,
      'what was being written must be cut off soon, not when the old permission would end',
    );
    await hold.release();
  });

  test('a process that stood still is not permitted to write when it goes on, before any of its timers', async () => {
    const claim = new ToldClaim();
    const { hold, clock } = setup([claim]);
    await hold.acquire(never);
    clock.stop();
    await clock.advance(10 * LIFE_MS);
    assert.equal(hold.valid, false);
    claim.onRenew = untilAborted;
    await clock.continue();
    await clock.advance(0);
    assert.equal(hold.lapse.aborted, true);
    await hold.release();
  });

  test('a wall clock that is set forward costs a pause until the next renewal, one set back nothing', async () => {
    const claim = new ToldClaim();
    const { hold, clock } = setup([claim]);
    await hold.acquire(never);
    clock.shiftWallClock(86_400_000);
    assert.equal(hold.valid, false);
    await clock.run(hold.permitted(), LIFE_MS / 3 + 1);
    assert.equal(hold.valid, true);
    clock.shiftWallClock(-2 * 86_400_000);
    assert.equal(hold.valid, true);
    await clock.advance(LIFE_MS);
    assert.equal(hold.valid, true);
    claim.onRenew = untilAborted;
    clock.shiftWallClock(-86_400_000);
    await clock.advance(LIFE_MS / 3 + PERMITTED_MS + 1);
    assert.equal(hold.valid, false, 'the monotonic clock still counts');
    await hold.release();
  });
});

describe('losing the volume', () => {
  test('ends it for good: writers are told, what is under way is cut off, nothing is released', async () => {
    const claim = new ToldClaim();
    const { hold, clock, lost } = setup([claim]);
    await hold.acquire(never);
    const { lapse } = hold;
    claim.onRenew = untilAborted;
    await clock.advance(PERMITTED_MS);
    const waiting = assert.rejects(hold.permitted(), { code: 'FENCED' });
    claim.onRenew = () => {
      throw fenced();
    };
    await clock.advance(LIFE_MS);
    await waiting;
    assert.equal(lapse.aborted, true);
    assert.equal(hold.valid, false);
    assert.equal(lost.length, 1);
    assert.equal(hold.lost, lost[0]);
    await assert.rejects(hold.permitted(), { code: 'FENCED' });
    const renewals = claim.asked.length;
    await clock.advance(10 * LIFE_MS);
    assert.equal(claim.asked.length, renewals, 'it must not renew what is lost');
    await hold.release();
    assert.equal(claim.asked.includes('release'), false);
    assert.equal(clock.sleeping, 0);
  });

  test('is noticed although the permission has not ended', async () => {
    const claim = new ToldClaim();
    const { hold, clock } = setup([claim]);
    await hold.acquire(never);
    claim.onRenew = () => {
      throw fenced();
    };
    await clock.advance(LIFE_MS / 3);
    assert.equal(hold.valid, false);
    assert.equal(hold.lapse.aborted, true);
    await hold.release();
  });
});

describe('releasing', () => {
  test('stops renewing, gives the claims up in reverse order, and leaves no timer', async () => {
    const journal: string[] = [];
    const { hold, clock } = setup([new ToldClaim('lease', journal), new ToldClaim('token', journal)]);
    await hold.acquire(never);
    await hold.release();
    assert.deepEqual(journal.slice(-2), ['token release', 'lease release']);
    assert.equal(clock.sleeping, 0);
    assert.equal(hold.valid, false);
    await assert.rejects(hold.permitted(), { code: 'CANCELLED' });
    const asked = journal.length;
    await hold.release();
    await clock.advance(10 * LIFE_MS);
    assert.equal(journal.length, asked);
  });

  test('waits for a renewal under way to end, so that it cannot follow the release', async () => {
    const journal: string[] = [];
    const claim = new ToldClaim('lease', journal);
    const { hold, clock } = setup([claim]);
    await hold.acquire(never);
    claim.onRenew = async (signal) => {
      await untilAborted(signal).catch(() => {});
      journal.push('renewal over');
      throw unreachable();
    };
    await clock.advance(LIFE_MS / 3);
    await clock.run(hold.release());
    assert.deepEqual(journal.slice(-3), ['lease renew', 'renewal over', 'lease release']);
  });

  test('one claim that cannot be released does not keep the others, and takes a third of a life at most', async () => {
    const token = new ToldClaim('token');
    const lease = new ToldClaim('lease');
    const { hold, clock, log } = setup([lease, token]);
    await hold.acquire(never);
    token.onRelease = untilAborted;
    await clock.run(hold.release());
    assert.deepEqual(lease.asked, ['acquire', 'release']);
    assert.ok(clock.time.nowMs <= LIFE_MS / 3);
    assert.equal(log.messages('warn').length, 1);
  });

  test('with erase tells the claims so', async () => {
    const claim = new ToldClaim();
    const { hold } = setup([claim]);
    await hold.acquire(never);
    await hold.release({ erase: true });
    assert.deepEqual(claim.asked, ['acquire', 'erase']);
  });

  test('abandoning releases nothing', async () => {
    const claim = new ToldClaim();
    const { hold, clock } = setup([claim]);
    await hold.acquire(never);
    const { lapse } = hold;
    await hold.abandon();
    assert.equal(lapse.aborted, true);
    await hold.release();
    assert.deepEqual(claim.asked, ['acquire']);
    assert.equal(clock.sleeping, 0);
  });

  test('while a write of ours may still arrive, the claims are left to lapse; a life later they are released', async () => {
    for (const [laterMs, expected] of [
      [LIFE_MS - 1, false],
      [LIFE_MS, true],
    ] as const) {
      const claim = new ToldClaim();
      const { hold, clock } = setup([claim]);
      await hold.acquire(never);
      hold.noteUnsettled();
      await clock.advance(laterMs);
      await hold.release();
      assert.equal(claim.asked.includes('release'), expected);
      assert.equal(clock.sleeping, 0);
    }
  });
});
