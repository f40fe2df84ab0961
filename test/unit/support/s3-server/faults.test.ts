/** Each fault does what it says, to the requests it names and to no other. */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { after, afterEach, describe, test } from 'node:test';
import * as faults from '../../../support/s3-server/faults.ts';
import { startS3Server } from '../../../support/s3-server/s3-server.ts';
import { type RawAnswer, send } from './raw-client.ts';

const server = await startS3Server({ buckets: ['b'] });
after(() => server.close());
const bucket = server.bucket('b');
afterEach(() => {
  server.faults.clear();
  bucket.clear();
});

const get = (key: string): Promise<RawAnswer> => send(server, { target: `/b/${key}` });
const put = (key: string, body = 'x', headers: Record<string, string> = {}): Promise<RawAnswer> =>
  send(server, { method: 'PUT', target: `/b/${key}`, body, headers });

test('an error answer, with its code and Retry-After, leaves everything as it was', async () => {
  server.faults.add(faults.status(503, { retryAfter: 7 }), { op: 'PutObject', times: 1 });
  const answer = await put('k');
  assert.deepEqual({ status: answer.status, code: answer.code }, { status: 503, code: 'SlowDown' });
  assert.equal(answer.headers['retry-after'], '7');
  assert.equal(bucket.size, 0);
  assert.equal((await put('k')).status, 200);
});

test('rules are for the requests they name: operation, key, method, and a count', async () => {
  bucket.put('a', 'x');
  bucket.put('b', 'x');
  const byKey = server.faults.add(faults.status(500), { key: 'a' });
  assert.deepEqual([(await get('a')).status, (await get('b')).status], [500, 200]);
  assert.equal(byKey.applied, 1);
  byKey.remove();
  server.faults.add(faults.status(500), { key: /^b/, method: 'GET' });
  assert.deepEqual([(await get('a')).status, (await get('b')).status, (await put('b')).status], [200, 500, 200]);
  server.faults.clear();
  server.faults.add(faults.status(500), { op: ['GetObject', 'HeadObject'], nth: 2 });
  assert.deepEqual([(await get('a')).status, (await get('a')).status, (await get('a')).status], [200, 500, 200]);
  server.faults.add(faults.status(500), { when: (request) => request.headers.range !== undefined });
  assert.equal((await send(server, { target: '/b/a', headers: { range: 'bytes=0-0' } })).status, 500);
});

test('rules apply in order up to the one that decides', async () => {
  bucket.put('k', 'x');
  server.faults.add(faults.status(500), { times: 1 });
  server.faults.add(faults.status(503), { times: 1 });
  assert.deepEqual([(await get('k')).status, (await get('k')).status, (await get('k')).status], [500, 503, 200]);
});

test('denied from now on, until cleared', async () => {
  bucket.put('k', 'x');
  server.faults.add(faults.denyFromNowOn());
  for (let i = 0; i < 3; i++) assert.equal((await get('k')).code, 'AccessDenied');
  server.faults.clear();
  assert.equal((await get('k')).status, 200);
});

test('a body cut half way announces all of it', async () => {
  bucket.put('k', 'y'.repeat(100_000));
  server.faults.add(faults.cutBody(), { times: 1 });
  await assert.rejects(get('k'), { code: 'ECONNRESET' });
  assert.equal((await get('k')).body.length, 100_000);
});

test('a lost answer has had its effect, a refused request has not', async () => {
  server.faults.add(faults.lostAnswer(), { key: 'lost' });
  server.faults.add(faults.refuse(), { key: 'refused' });
  await assert.rejects(put('lost'), { code: 'ECONNRESET' });
  await assert.rejects(put('refused'));
  assert.deepEqual([...bucket.keys()], ['lost']);
  assert.equal(server.requests.at(-1)?.status, 0);
});

test('a held request waits where the test wants it', async () => {
  const before = server.faults.hold({ key: 'before' });
  const afterwards = server.faults.hold({ key: 'after' }, { answer: true });
  const requests = [put('before'), put('after'), put('before')];
  await before.arrived(2);
  await afterwards.arrived();
  assert.deepEqual([before.waiting, afterwards.waiting], [2, 1]);
  assert.deepEqual([...bucket.keys()], ['after']);
  before.releaseOne();
  await Promise.race([requests[0], requests[2]]);
  assert.equal(before.waiting, 1);
  before.release();
  afterwards.release();
  assert.deepEqual(
    (await Promise.all(requests)).map((answer) => answer.status),
    [200, 200, 200],
  );
  assert.equal((await put('before')).status, 200);
});

test('late has no effect yet while it waits, lateAnswer has', async () => {
  server.faults.add(faults.late(50), { key: 'late' });
  server.faults.add(faults.lateAnswer(50), { key: 'answer' });
  const late = server.faults.hold({ key: 'late' });
  const answer = server.faults.hold({ key: 'answer' }, { answer: true });
  const requests = [put('late'), put('answer')];
  await Promise.all([late.arrived(), answer.arrived()]);
  assert.deepEqual([...bucket.keys()], ['answer']);
  server.faults.clear();
  await Promise.all(requests);
  assert.equal(bucket.size, 2);
});

describe('a server that falls short', () => {
  test('of conditions', async () => {
    bucket.put('k', 'first');
    server.faults.add(faults.ignoreConditions());
    assert.equal((await put('k', 'second', { 'if-none-match': '*' })).status, 200);
    assert.equal((await put('k', 'third', { 'if-match': 'other' })).status, 200);
    assert.equal(bucket.get('k')?.body.toString(), 'third');
  });

  test('of ranges', async () => {
    bucket.put('k', '0123');
    server.faults.add(faults.ignoreRange());
    const answer = await send(server, { target: '/b/k', headers: { range: 'bytes=1-2' } });
    assert.deepEqual({ status: answer.status, text: answer.text }, { status: 200, text: '0123' });
  });

  test('of some keys of a multi-delete', async () => {
    bucket.put('a', '');
    bucket.put('b', '');
    server.faults.add(faults.partialDelete(['b']));
    const body = '<Delete><Object><Key>a</Key></Object><Object><Key>b</Key></Object></Delete>';
    const headers = { 'content-md5': createHash('md5').update(body).digest('base64') };
    const answer = await send(server, { method: 'POST', target: '/b?delete', body, headers });
    assert.equal(answer.status, 200);
    assert.match(answer.text, /<Error><Key>b<\/Key><Code>InternalError<\/Code>/);
    assert.deepEqual([...bucket.keys()], ['b']);
  });
});

test('latency is added to the requests of its kind', async () => {
  bucket.put('k', 'x');
  server.latency.getMs = 30;
  const begun = performance.now();
  await get('k');
  server.latency.getMs = 0;
  assert.ok(performance.now() - begun >= 29);
});

test('closing ends whatever is under way: what hangs, what is held, what is late, and who waits for a gate', async () => {
  const closing = await startS3Server({ buckets: ['b'] });
  closing.faults.add(faults.hang(), { key: 'hangs' });
  closing.faults.add(faults.hang({ afterEffect: true }), { key: 'hangs-after' });
  closing.faults.add(faults.late(3_600_000), { key: 'late' });
  const gate = closing.faults.hold({ op: 'PutObject', key: 'held' });
  const never = closing.faults.hold({ op: 'DeleteObject' });
  const arrivals = closing.faults.hold({ key: 'late' });
  const keys = ['hangs', 'hangs-after', 'late', 'held'];
  const requests = keys.map((key) => send(closing, { method: 'PUT', target: `/b/${key}`, body: 'x' }));
  const waiting = never.arrived();
  const outcomes = Promise.allSettled([...requests, waiting]);
  await gate.arrived();
  await closing.close();
  assert.deepEqual(new Set((await outcomes).map(({ status }) => status)), new Set(['rejected']));
  assert.equal(closing.bucket('b').has('held'), false);
  assert.equal(arrivals.waiting, 0);
});
