/** What the operator is told of a store that fails, and how often. */
import assert from 'node:assert/strict';
import { beforeEach, describe, it } from 'node:test';
import { StorageError } from '../../../src/lib/errors.ts';
import { type Log, silentLog } from '../../../src/lib/log.ts';
import { StoreHealth } from '../../../src/object/store-health.ts';
import { VirtualClock } from '../../support/virtual-clock.ts';

describe('StoreHealth', () => {
  let clock: VirtualClock;
  let lines: string[];
  let health: StoreHealth;
  const unavailable = new StorageError('UNAVAILABLE', 'not now');
  beforeEach(() => {
    clock = new VirtualClock();
    lines = [];
    const log: Log = {
      ...silentLog,
      info: (message) => lines.push(`info ${message}`),
      warn: (message) => lines.push(`warn ${message}`),
      error: (message) => lines.push(`error ${message}`),
    };
    health = new StoreHealth(clock, log);
  });

  it('tells the first of single failures, then not every one', () => {
    for (let i = 0; i < 20; i++) {
      health.failed(unavailable);
      health.succeeded();
    }
    assert.deepEqual(lines, ['info a request to the store failed and is tried again']);
    assert.equal(health.snapshot().state, 'ok');
    assert.equal(health.snapshot().lastError?.code, 'UNAVAILABLE');
  });

  it('tells that an outage begins, goes on and ends', async () => {
    for (let i = 0; i < 50; i++) health.failed(unavailable);
    assert.equal(lines.length, 2);
    assert.match(lines[1] ?? '', /^warn the store does not answer/);
    assert.equal(health.snapshot().state, 'failing');
    assert.equal(health.snapshot().consecutiveFailures, 50);
    await clock.advance(61_000);
    health.failed(unavailable);
    assert.equal(lines.length, 3);
    health.succeeded();
    assert.equal(lines.at(-1), 'info the store answers again');
    assert.equal(health.snapshot().failingSince, null);
  });

  it('takes what had no answer by the time its caller set for a failure, and failures that last for an outage', async () => {
    const overdue = new StorageError('TIMEOUT', 'no answer within 10000 ms');
    const attempt = new StorageError('CANCELLED', 'writing the lease was cancelled', { cause: overdue });
    health.succeeded();
    health.failed(attempt);
    assert.equal(health.snapshot().state, 'ok');
    await clock.advance(13_000);
    health.failed(attempt);
    assert.equal(health.snapshot().state, 'failing');
    assert.deepEqual(health.snapshot().lastError, {
      code: 'TIMEOUT',
      message: 'writing the lease was cancelled: no answer within 10000 ms',
      at: clock.date(),
    });
    health.succeeded();
    await clock.advance(100_000);
    health.failed(unavailable);
    assert.equal(health.snapshot().state, 'ok');
  });

  it('is failing where it has never answered, after a single failure', () => {
    health.failed(unavailable);
    assert.equal(health.snapshot().state, 'failing');
    assert.deepEqual(lines, ['info a request to the store failed and is tried again']);
    health.succeeded();
    health.failed(unavailable);
    assert.equal(health.snapshot().state, 'ok');
  });

  it('tells a refusal at once and loud', () => {
    health.failed(new StorageError('ACCESS_DENIED', 'no'));
    assert.deepEqual(lines, ['error the store refuses what it is asked']);
    assert.equal(health.snapshot().state, 'failing');
  });

  it('tells a refusal also right after an outage, and each of them once a minute where they come and go', async () => {
    for (let i = 0; i < 5; i++) health.failed(unavailable);
    health.succeeded();
    lines.splice(0);
    const denied = new StorageError('ACCESS_DENIED', 'no');
    health.failed(denied);
    health.succeeded();
    assert.deepEqual(lines, ['error the store refuses what it is asked', 'info the store answers again']);
    lines.splice(0);
    for (let i = 0; i < 20; i++) {
      health.failed(denied);
      for (let j = 0; j < 5; j++) health.failed(unavailable);
      health.succeeded();
    }
    assert.deepEqual(lines, []);
    await clock.advance(61_000);
    health.failed(denied);
    assert.deepEqual(lines, ['error the store refuses what it is asked']);
  });

  it('takes the refusal of a request for an answer of the store, and a cancelled one for nothing', () => {
    health.failed(unavailable);
    health.failed(new StorageError('CANCELLED', 'never mind'));
    assert.equal(health.snapshot().consecutiveFailures, 1);
    health.failed(new StorageError('CONFLICT', 'lost'));
    assert.equal(health.snapshot().consecutiveFailures, 0);
  });
});
