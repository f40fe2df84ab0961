/** S3 that is late, refuses, lies, cuts or forgets: what the store makes of it, bare and under the whole stack. */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { describeError, StorageError } from '../../../../src/lib/errors.ts';
import { AmbiguousConflict } from '../../../../src/object/ambiguous-conflict.ts';
import { probeConditionalPuts } from '../../../../src/object/probe.ts';
import { S3ObjectStore } from '../../../../src/object/s3/s3-object-store.ts';
import type { S3StoreOptions } from '../../../../src/object/s3/s3-options.ts';
import { type S3Address, s3OptionsFor } from '../../../conformance/object-store/s3-options.ts';
import { type Stack, stackOn } from '../../../conformance/object-store/stack.ts';
import { listKeys, rejectsWith } from '../../../conformance/object-store/suite.ts';
import {
  clockSkew,
  cutBody,
  denyFromNowOn,
  hang,
  ignoreConditions,
  ignoreRange,
  late,
  lostAnswer,
  partialDelete,
  refuse,
  status,
} from '../../../support/s3-server/faults.ts';
import { type S3Server, startS3Server } from '../../../support/s3-server/s3-server.ts';
import { failsAs } from './fails-as.ts';

describe('S3ObjectStore on a server that goes wrong', () => {
  let server: S3Server;
  let address: S3Address;
  let raw: S3ObjectStore;
  let stack: Stack;
  const open: S3ObjectStore[] = [];
  beforeEach(async () => {
    server = await startS3Server({ buckets: ['disk'] });
    const { region, accessKeyId, secretAccessKey } = server;
    address = { endpoint: server.url, region, accessKeyId, secretAccessKey };
    raw = openStore();
    stack = stackOn(raw);
  });
  afterEach(async () => {
    for (const store of open.splice(0)) await store.close();
    await server.close();
  });

  function openStore(options: Partial<S3StoreOptions> = {}): S3ObjectStore {
    const store = new S3ObjectStore(s3OptionsFor(address, 'disk', options));
    open.push(store);
    return store;
  }

  it('waits for a late answer, and gives up on one that does not come', async () => {
    server.bucket('disk').put('key', 'body');
    server.faults.add(late(50), { op: 'GetObject' });
    assert.equal((await raw.get('key'))?.body.toString(), 'body');
    server.faults.clear();
    server.faults.add(hang(), { times: 2 });
    const impatient = openStore({ requestTimeoutMs: 100 });
    await assert.rejects(
      impatient.get('key'),
      failsAs('TIMEOUT', true, 'reading the object key in s3://disk', '100 ms'),
    );
    const { store } = stackOn(impatient);
    assert.equal((await store.get('key'))?.body.toString(), 'body');
  });

  it('is cancelled in the middle of a request, and of a body', async () => {
    server.bucket('disk').put('key', 'body');
    const gate = server.faults.hold({ op: 'GetObject' });
    const controller = new AbortController();
    const read = stack.store.get('key', { signal: controller.signal });
    await gate.arrived();
    controller.abort();
    await assert.rejects(read, failsAs('CANCELLED', false));
    gate.release();
  });

  it('takes Retry-After from a 503, in seconds and as a date, and tries again', async () => {
    server.faults.add(status(503, { retryAfter: 7 }), { times: 1 });
    await assert.rejects(raw.get('key'), (error) => {
      return failsAs('UNAVAILABLE', true, '503 SlowDown')(error) && (error as StorageError).retryAfterMs === 7000;
    });
    server.faults.add(status(503, { retryAfter: new Date(Date.now() + 60_000).toUTCString() }), { times: 1 });
    await assert.rejects(raw.get('key'), (error) => {
      const { retryAfterMs = 0 } = error as StorageError;
      return retryAfterMs > 50_000 && retryAfterMs <= 60_000;
    });
    server.faults.add(status(503, { retryAfter: 0 }), { times: 3 });
    await stack.store.put('key', Buffer.from('body'));
    assert.equal(server.bucket('disk').get('key')?.body.toString(), 'body');
    assert.deepEqual(stack.metrics.snapshot().operations.put.outcomes, { UNAVAILABLE: 3, ok: 1 });
  });

  it('retries what S3 means to be retried, and nothing else', async () => {
    for (const [code, name, expected, retryable] of [
      [400, 'RequestTimeout', 'UNAVAILABLE', true],
      [400, 'InvalidArgument', 'INVALID', false],
      [400, 'BadDigest', 'UNAVAILABLE', true],
      [403, 'AccessDenied', 'ACCESS_DENIED', false],
      [403, 'QuotaExceeded', 'NO_SPACE', false],
      [409, 'OperationAborted', 'UNAVAILABLE', true],
      [412, 'PreconditionFailed', 'CONFLICT', false],
      [429, 'TooManyRequests', 'UNAVAILABLE', true],
      [500, 'InternalError', 'UNAVAILABLE', true],
      [501, 'NotImplemented', 'UNSUPPORTED', false],
      [507, 'InsufficientStorage', 'NO_SPACE', false],
    ] as const) {
      server.faults.clear();
      server.faults.add(status(code, { code: name }));
      await assert.rejects(raw.put('key', Buffer.from('x')), failsAs(expected, retryable, name), name);
    }
  });

  it('never returns a body that was cut, whole or in part', async () => {
    const body = randomBytes(300_000);
    server.bucket('disk').put('key', body);
    for (const atBytes of [0, 1, 150_000, 299_999]) {
      server.faults.add(cutBody({ atBytes }), { op: 'GetObject', times: 1 });
      await assert.rejects(raw.get('key'), failsAs('UNAVAILABLE', true), `cut at ${atBytes}`);
    }
    server.faults.add(cutBody(), { op: 'GetObject', times: 1 });
    await assert.rejects(raw.get('key', { range: { offset: 7, length: 100_000 } }), failsAs('UNAVAILABLE', true));
    server.faults.add(cutBody(), { op: 'GetObject', times: 3 });
    assert.ok((await stack.store.get('key'))?.body.equals(body));
  });

  it('never loses keys of a listing that was cut', async () => {
    const bucket = server.bucket('disk');
    const keys = Array.from({ length: 2100 }, (_, i) => `v/${String(i).padStart(6, '0')}`);
    for (const key of keys) bucket.put(key, 'x');
    server.faults.add(cutBody(), { op: 'ListObjectsV2', nth: 1 });
    await assert.rejects(listKeys(raw, 'v/'), failsAs('UNAVAILABLE', true));
    server.faults.clear();
    server.faults.add(cutBody(), { op: 'ListObjectsV2', nth: 2, times: 2 });
    server.faults.add(status(500), { op: 'ListObjectsV2', nth: 2, times: 1 });
    assert.deepEqual(await listKeys(stack.store, 'v/'), keys);
  });

  it('repeats a put whose answer was lost, and marks the conflict with itself', async () => {
    server.faults.add(lostAnswer(), { op: 'PutObject', times: 1 });
    await assert.rejects(raw.put('a', Buffer.from('a')), failsAs('UNAVAILABLE', true));
    assert.equal(server.bucket('disk').get('a')?.body.toString(), 'a');
    server.faults.add(lostAnswer(), { op: 'PutObject', times: 1 });
    await stack.store.put('b', Buffer.from('b'));
    server.faults.add(lostAnswer(), { op: 'PutObject', times: 1 });
    await assert.rejects(
      stack.store.put('c', Buffer.from('c'), { ifNoneMatch: '*' }),
      (error) => error instanceof AmbiguousConflict,
    );
    const { etag } = (await stack.store.head('c')) ?? assert.fail();
    server.faults.add(lostAnswer(), { op: 'PutObject', times: 1 });
    await assert.rejects(
      stack.store.put('c', Buffer.from('d'), { ifMatch: etag }),
      (error) => error instanceof AmbiguousConflict,
    );
    server.faults.add(lostAnswer(), { op: ['DeleteObject', 'DeleteObjects'], times: 2 });
    await stack.store.delete(['a', 'b']);
    await stack.store.delete(['c']);
    assert.equal(server.bucket('disk').size, 0);
  });

  it('names a reset connection and a server that is not there', async () => {
    server.faults.add(refuse(), { times: 1 });
    await assert.rejects(raw.get('key'), failsAs('UNAVAILABLE', true, 'ECONNRESET|hang up|socket'));
    await server.close();
    await assert.rejects(raw.get('key'), failsAs('UNAVAILABLE', true, 'nothing listens at http://127.0.0.1'));
    const unknown = openStore({ endpoint: 'http://bucketdisk.invalid' });
    await assert.rejects(unknown.get('key'), failsAs('UNAVAILABLE', true, 'host of http://bucketdisk.invalid'));
  });

  it('says at once that it is refused, and what that may mean', async () => {
    server.faults.add(denyFromNowOn());
    await assert.rejects(stack.store.get('key'), failsAs('ACCESS_DENIED', false, 's3:ListBucket'));
    await assert.rejects(stack.store.head('key'), failsAs('ACCESS_DENIED', false, 's3:ListBucket'));
    await assert.rejects(stack.store.put('key', Buffer.from('x')), failsAs('ACCESS_DENIED', false, 'AccessDenied'));
    await assert.rejects(listKeys(stack.store, ''), failsAs('ACCESS_DENIED', false));
    assert.equal(stack.metrics.snapshot().operations.get.attempts, 1);
    assert.equal(stack.health.snapshot().state, 'failing');
    server.faults.clear();
    await stack.store.get('key');
    assert.equal(stack.health.snapshot().state, 'ok');
  });

  it('corrects for a clock that differs, after one refusal', async () => {
    server.faults.add(clockSkew(3 * 60 * 60 * 1000));
    await assert.rejects(raw.get('key'), failsAs('ACCESS_DENIED', true, 'RequestTimeTooSkewed'));
    assert.equal(await raw.get('key'), null);
    const fresh = stackOn(openStore());
    await fresh.store.put('key', Buffer.from('x'));
    assert.deepEqual(fresh.metrics.snapshot().operations.put.outcomes, { ACCESS_DENIED: 1, ok: 1 });
    await fresh.store.put('key', Buffer.from('y'));
    assert.equal(fresh.metrics.snapshot().operations.put.attempts, 3);
  });

  it('never takes a bucket that vanished for one without the key', async () => {
    assert.equal(await raw.get('key'), null);
    server.deleteBucket('disk');
    for (const store of [raw, stack.store]) {
      await assert.rejects(store.get('key'), failsAs('NOT_FOUND', false, 'create it, or correct store.url'));
      await assert.rejects(store.head('key'), failsAs('NOT_FOUND', false));
      await assert.rejects(listKeys(store, ''), failsAs('NOT_FOUND', false));
    }
  });

  it('takes the range out of an answer that ignores ranges', async () => {
    const body = randomBytes(5000);
    server.bucket('disk').put('key', body);
    server.faults.add(ignoreRange());
    const part = await raw.get('key', { range: { offset: 1000, length: 50 } });
    assert.ok(part?.body.equals(body.subarray(1000, 1050)));
    assert.equal(part?.sizeBytes, 5000);
    await assert.rejects(raw.get('key', { range: { offset: 4990, length: 11 } }), failsAs('INVALID', false));
  });

  it('sees the keys that a DeleteObjects did not delete', async () => {
    const bucket = server.bucket('disk');
    for (const key of ['a', 'b', 'c']) bucket.put(key, key);
    const rule = server.faults.add(partialDelete(['b']));
    await assert.rejects(raw.delete(['a', 'b', 'c']), rejectsWith('UNAVAILABLE', 'ACCESS_DENIED'));
    assert.deepEqual([...bucket.keys()], ['b']);
    rule.remove();
    await raw.delete(['a', 'b', 'c']);
    assert.equal(bucket.size, 0);
  });

  it('deletes one by one where the server has no DeleteObjects', async () => {
    const keys = Array.from({ length: 30 }, (_, i) => `k${i}`);
    for (const key of keys) server.bucket('disk').put(key, key);
    server.faults.add(status(501), { op: 'DeleteObjects' });
    await raw.delete(keys);
    assert.equal(server.bucket('disk').size, 0);
    await raw.delete(['x', 'y']);
    assert.equal(server.requests.filter((request) => request.op === 'DeleteObjects').length, 1);
  });

  it('deletes keys that XML cannot carry', async () => {
    for (const key of ['a\u0001b', 'plain', 'other', 'c\nd']) server.bucket('disk').put(key, 'x');
    await raw.delete(['a\u0001b', 'plain', 'other', 'c\nd']);
    assert.equal(server.bucket('disk').size, 0);
  });

  it('is found out by the probe where it ignores conditions', async () => {
    server.faults.add(ignoreConditions());
    assert.deepEqual(await probeConditionalPuts(stack.store, 'v/'), { ifNoneMatch: false, ifMatch: false });
    server.faults.clear();
    server.faults.add(status(501), { when: ({ headers }) => headers['if-match'] !== undefined });
    assert.deepEqual(await probeConditionalPuts(stack.store, 'v/'), { ifNoneMatch: true, ifMatch: false });
    server.faults.clear();
    server.faults.add(denyFromNowOn(), { op: 'PutObject', nth: 2 });
    await assert.rejects(probeConditionalPuts(stack.store, 'v/'), rejectsWith('ACCESS_DENIED'));
    assert.equal(server.bucket('disk').size, 0);
  });

  it('learns the form of ETag the server wants in If-Match', async () => {
    const quoted = ({ headers }: { headers: Readonly<Record<string, string>> }): boolean =>
      headers['if-match']?.startsWith('"') ?? false;
    for (const refusesQuoted of [true, false]) {
      server.faults.clear();
      server.faults.add(status(412), {
        op: 'PutObject',
        when: (request) => request.headers['if-match'] !== undefined && quoted(request) === refusesQuoted,
      });
      const store = openStore();
      let { etag } = await store.put('key', Buffer.from('0'));
      for (let i = 1; i < 4; i++) etag = (await store.put('key', Buffer.from(String(i)), { ifMatch: etag })).etag;
      server.clearRequests();
      await assert.rejects(store.put('key', Buffer.from('x'), { ifMatch: 'stale' }), failsAs('CONFLICT', false));
      assert.equal(server.requests.length, 1, 'the form is known');
    }
  });

  it('tells no secret of a request that was refused', async () => {
    const store = openStore({
      credentials: { accessKeyId: server.accessKeyId, secretAccessKey: 'S3CRET', sessionToken: 'T0KEN' },
    });
    await assert.rejects(store.put('key', Buffer.from('x')), (error) => {
      assert.ok(rejectsWith('ACCESS_DENIED')(error) && error instanceof StorageError);
      const shown = `${describeError(error)} ${JSON.stringify(error)} ${JSON.stringify(error.cause)} ${error.stack}`;
      assert.doesNotMatch(shown, /S3CRET|T0KEN|x-amz-security-token/i);
      return true;
    });
  });
});
