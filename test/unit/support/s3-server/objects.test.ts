/** The operations on objects, by requests written out. */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { after, beforeEach, describe, test } from 'node:test';
import { startS3Server } from '../../../support/s3-server/s3-server.ts';
import { type RawAnswer, type RawRequest, send } from './raw-client.ts';

const server = await startS3Server({ buckets: ['b'], domain: 's3.localhost', bodyBytesMax: 1024 * 1024 });
after(() => server.close());
const bucket = server.bucket('b');
beforeEach(() => bucket.clear());

const md5 = (body: string): string => createHash('md5').update(body).digest('base64');

function put(key: string, body: string, headers: Record<string, string> = {}): Promise<RawAnswer> {
  return send(server, { method: 'PUT', target: `/b/${key}`, body, headers });
}

async function refused(raw: RawRequest, status: number, code: string | undefined): Promise<RawAnswer> {
  const answer = await send(server, raw);
  assert.deepEqual({ status: answer.status, code: answer.code }, { status, code });
  return answer;
}

describe('PutObject', () => {
  test('keeps the body and all that is said of it, and gives it back', async () => {
    const answer = await put('k', 'body', {
      'content-type': 'application/x-s3backer-block',
      'content-encoding': 'deflate, encrypt-AES-128-CBC',
      'content-md5': md5('body'),
      'x-amz-acl': 'private',
      'x-amz-storage-class': 'STANDARD_IA',
      'x-amz-server-side-encryption': 'aws:kms',
      'x-amz-server-side-encryption-aws-kms-key-id': 'key-1',
      'x-amz-meta-s3backer-hmac': '"abc"',
    });
    assert.equal(answer.status, 200);
    assert.equal(answer.headers['x-amz-server-side-encryption'], 'aws:kms');
    const got = await send(server, { target: '/b/k' });
    assert.equal(got.text, 'body');
    assert.equal(got.headers['content-type'], 'application/x-s3backer-block');
    assert.equal(got.headers['content-encoding'], 'deflate, encrypt-AES-128-CBC');
    assert.equal(got.headers['x-amz-meta-s3backer-hmac'], '"abc"');
    assert.equal(got.headers['x-amz-storage-class'], 'STANDARD_IA');
    assert.equal(got.headers['x-amz-server-side-encryption-aws-kms-key-id'], 'key-1');
    assert.equal(got.headers['x-amz-acl'], undefined);
    assert.equal(got.headers.etag, answer.headers.etag);
    assert.notEqual(got.headers.etag, `"${createHash('md5').update('body').digest('hex')}"`, 'with KMS it is no MD5');
    assert.deepEqual(bucket.get('k')?.metadata, { 's3backer-hmac': '"abc"' });
  });

  test('has the MD5 as ETag', async () => {
    const answer = await put('k', 'body');
    assert.equal(answer.headers.etag, `"${createHash('md5').update('body').digest('hex')}"`);
    assert.equal(bucket.get('k')?.headers['content-type'], 'binary/octet-stream');
  });

  test('checks digests', async () => {
    const target = '/b/k';
    const wrong = { method: 'PUT', target, body: 'body' };
    await refused({ ...wrong, headers: { 'content-md5': md5('other') } }, 400, 'BadDigest');
    await refused({ ...wrong, headers: { 'content-md5': 'short' } }, 400, 'InvalidDigest');
    await refused({ ...wrong, headers: { 'x-amz-checksum-crc32': 'AAAAAA==' } }, 400, 'BadDigest');
    await refused({ ...wrong, headers: { 'x-amz-checksum-crc32c': 'AAAAAA==' } }, 501, 'NotImplemented');
    assert.equal(bucket.size, 0);
    const sha256 = createHash('sha256').update('body').digest('base64');
    assert.equal((await put('k', 'body', { 'x-amz-checksum-sha256': sha256 })).status, 200);
    const got = await send(server, { target, headers: { 'x-amz-checksum-mode': 'ENABLED' } });
    assert.equal(got.headers['x-amz-checksum-sha256'], sha256);
    assert.equal((await send(server, { target })).headers['x-amz-checksum-sha256'], undefined);
  });

  test('needs a length, and one that is not too long', async () => {
    const chunked = { method: 'PUT', target: '/b/k', unsigned: { 'transfer-encoding': 'chunked' } };
    await refused(chunked, 411, 'MissingContentLength');
    await refused({ method: 'PUT', target: '/b/k', body: Buffer.alloc(1024 * 1024 + 1) }, 400, 'EntityTooLarge');
    assert.equal(bucket.size, 0);
  });

  test('refuses what is not valid', async () => {
    const base = { method: 'PUT', target: '/b/k', body: 'x' };
    await refused({ ...base, headers: { 'x-amz-acl': 'everyone' } }, 400, 'InvalidArgument');
    await refused({ ...base, headers: { 'x-amz-storage-class': 'CHEAP' } }, 400, 'InvalidStorageClass');
    await refused({ ...base, headers: { 'x-amz-server-side-encryption': 'rot13' } }, 400, 'InvalidArgument');
    const kmsKey = { 'x-amz-server-side-encryption-aws-kms-key-id': 'k', 'x-amz-server-side-encryption': 'AES256' };
    await refused({ ...base, headers: kmsKey }, 400, 'InvalidArgument');
    await refused({ ...base, headers: { 'x-amz-meta-a': 'a'.repeat(2048) } }, 400, 'MetadataTooLarge');
    await refused({ ...base, headers: { 'content-encoding': 'aws-chunked' } }, 501, 'NotImplemented');
    assert.equal(bucket.size, 0);
  });

  test('If-None-Match: * creates only', async () => {
    assert.equal((await put('k', 'first', { 'if-none-match': '*' })).status, 200);
    await refused(
      { method: 'PUT', target: '/b/k', body: 'x', headers: { 'if-none-match': '*' } },
      412,
      'PreconditionFailed',
    );
    await refused(
      { method: 'PUT', target: '/b/k', body: 'x', headers: { 'if-none-match': '"e"' } },
      501,
      'NotImplemented',
    );
    assert.equal(bucket.get('k')?.body.toString(), 'first');
  });

  test('If-Match replaces what it names only, quoted or not', async () => {
    const conditional = { method: 'PUT', target: '/b/k', body: 'x' };
    await refused({ ...conditional, headers: { 'if-match': 'e' } }, 404, 'NoSuchKey');
    const { etag } = bucket.put('k', 'first');
    await refused({ ...conditional, headers: { 'if-match': 'e' } }, 412, 'PreconditionFailed');
    assert.equal((await put('k', 'second', { 'if-match': `"${etag}"` })).status, 200);
    await refused({ ...conditional, headers: { 'if-match': etag } }, 412, 'PreconditionFailed');
    assert.equal((await put('k', 'third', { 'if-match': bucket.get('k')?.etag ?? '' })).status, 200);
    assert.equal(bucket.get('k')?.body.toString(), 'third');
  });

  test('of many racers for one key one wins', async () => {
    const racers = Array.from({ length: 16 }, (_, i) => put('k', `racer ${i}`, { 'if-none-match': '*' }));
    const statuses = (await Promise.all(racers)).map((answer) => answer.status);
    assert.equal(statuses.filter((status) => status === 200).length, 1);
    assert.equal(statuses.filter((status) => status === 412).length, 15);
  });

  test('asks for the body with 100 Continue, and only where it will take it', async () => {
    const expecting = { method: 'PUT', target: '/b/k', body: 'x', unsigned: { expect: '100-continue' } };
    const taken = await send(server, expecting);
    assert.deepEqual({ status: taken.status, continued: taken.continued }, { status: 200, continued: true });
    const denied = await send(server, { ...expecting, secretAccessKey: 'wrong' });
    assert.deepEqual({ status: denied.status, continued: denied.continued }, { status: 403, continued: false });
  });
});

describe('GetObject and HeadObject', () => {
  test('ranges', async () => {
    bucket.put('k', '0123456789');
    const cases = [
      ['bytes=0-0', '0', '0-0'],
      ['bytes=3-5', '345', '3-5'],
      ['bytes=8-', '89', '8-9'],
      ['bytes=8-100', '89', '8-9'],
      ['bytes=-3', '789', '7-9'],
      ['bytes=-100', '0123456789', '0-9'],
    ] as const;
    for (const [range, body, contentRange] of cases) {
      const answer = await send(server, { target: '/b/k', headers: { range } });
      assert.equal(answer.status, 206, range);
      assert.equal(answer.text, body, range);
      assert.equal(answer.headers['content-range'], `bytes ${contentRange}/10`);
    }
    for (const range of ['bytes=10-', 'bytes=10-12', 'bytes=-0', 'bytes=5-3']) {
      const answer = await refused({ target: '/b/k', headers: { range } }, 416, 'InvalidRange');
      assert.equal(answer.headers['content-range'], 'bytes */10');
    }
    await refused({ target: '/b/k', headers: { range: 'bytes=a-b' } }, 400, 'InvalidArgument');
    await refused({ target: '/b/k', headers: { range: 'bytes=0-1,3-4' } }, 501, 'NotImplemented');
  });

  test('conditions', async () => {
    const { etag } = bucket.put('k', 'x');
    const conditional = (headers: Record<string, string>): RawRequest => ({ target: '/b/k', headers });
    const same = await send(server, conditional({ 'if-none-match': `"${etag}"` }));
    assert.deepEqual({ status: same.status, bytes: same.body.length }, { status: 304, bytes: 0 });
    assert.equal((await send(server, conditional({ 'if-none-match': '"e"' }))).status, 200);
    assert.equal((await send(server, conditional({ 'if-match': `"${etag}"` }))).status, 200);
    await refused(conditional({ 'if-match': '"e"' }), 412, 'PreconditionFailed');
    await refused(conditional({ 'if-modified-since': 'Fri, 24 May 2013 00:00:00 GMT' }), 501, 'NotImplemented');
  });

  test('HEAD tells the length and has no body, in errors neither', async () => {
    bucket.put('k', 'four');
    const found = await send(server, { method: 'HEAD', target: '/b/k' });
    assert.equal(found.headers['content-length'], '4');
    assert.equal(found.body.length, 0);
    const absent = await refused({ method: 'HEAD', target: '/b/absent' }, 404, undefined);
    assert.equal(absent.body.length, 0);
  });

  test('a missing key and a missing bucket are told apart', async () => {
    await refused({ target: '/b/absent' }, 404, 'NoSuchKey');
    await refused({ target: '/absent/k' }, 404, 'NoSuchBucket');
    await refused({ method: 'PUT', target: '/absent/k', body: 'x' }, 404, 'NoSuchBucket');
  });

  test('an archived object is not to be had', async () => {
    bucket.put('k', 'x', { headers: { 'x-amz-storage-class': 'GLACIER' } });
    await refused({ target: '/b/k' }, 403, 'InvalidObjectState');
    assert.equal((await send(server, { method: 'HEAD', target: '/b/k' })).status, 200);
  });
});

describe('keys', () => {
  test('are taken as they are, slashes and dots and all', async () => {
    const keys = ['a//b', './x/../y', 'plus+space and%25', 'é😀', '&<>"', "!'()*~"];
    for (const key of keys) {
      const answer = await put(key.split('/').map(encodeURIComponent).join('/'), key);
      assert.equal(answer.status, 200, key);
    }
    assert.deepEqual([...bucket.keys()].sort(), keys.sort());
  });

  test('have at most 1024 bytes', async () => {
    assert.equal((await put('k'.repeat(1024), 'x')).status, 200);
    await refused({ method: 'PUT', target: `/b/${'k'.repeat(1025)}`, body: 'x' }, 400, 'KeyTooLongError');
    await refused(
      { method: 'PUT', target: `/b/${encodeURIComponent('é'.repeat(513))}`, body: 'x' },
      400,
      'KeyTooLongError',
    );
  });

  test('are found in virtual-host style too', async () => {
    bucket.put('k', 'x');
    const headers = { host: `b.s3.localhost:${server.port}` };
    assert.equal((await send(server, { target: '/k', headers })).text, 'x');
    const listing = await send(server, { target: '/?list-type=2', headers });
    assert.match(listing.text, /<Key>k<\/Key>/);
  });
});

describe('DeleteObject and DeleteObjects', () => {
  function deletion(keys: readonly string[], quiet = false): RawRequest {
    const objects = keys.map((key) => `<Object><Key>${key}</Key></Object>`).join('');
    const body = `<?xml version="1.0"?><Delete>${quiet ? '<Quiet>true</Quiet>' : ''}${objects}</Delete>`;
    return { method: 'POST', target: '/b?delete', body, headers: { 'content-md5': md5(body) } };
  }

  test('a key that is not there counts as deleted', async () => {
    bucket.put('k', 'x');
    for (let i = 0; i < 2; i++) assert.equal((await send(server, { method: 'DELETE', target: '/b/k' })).status, 204);
    assert.equal(bucket.size, 0);
  });

  test('many at once, with what XML must escape', async () => {
    for (const key of ['a', 'b<&>', 'c']) bucket.put(key, 'x');
    const answer = await send(server, deletion(['a', 'b&lt;&#38;&#x3e;', 'absent']));
    assert.equal(answer.status, 200);
    assert.match(answer.text, /<Deleted><Key>b&lt;&amp;&gt;<\/Key><\/Deleted>/);
    assert.match(answer.text, /<Deleted><Key>absent<\/Key><\/Deleted>/);
    assert.deepEqual([...bucket.keys()], ['c']);
    assert.doesNotMatch((await send(server, deletion(['c'], true))).text, /Deleted>/);
    assert.equal(bucket.size, 0);
  });

  test('needs a digest, well-formed XML and at most 1000 keys', async () => {
    bucket.put('k', 'x');
    await refused({ ...deletion(['k']), headers: {} }, 400, 'InvalidRequest');
    const keys = Array.from({ length: 1001 }, (_, i) => `k${i}`);
    await refused(deletion(keys), 400, 'MalformedXML');
    await refused(deletion([]), 400, 'MalformedXML');
    assert.equal((await send(server, deletion(keys.slice(1)))).status, 200);
    for (const body of [
      '',
      '<Delete>',
      '<Delete><Object/></Delete>',
      '<Other/>',
      '<Delete><Object><Key>&x;</Key></Object></Delete>',
    ]) {
      const headers = { 'content-md5': md5(body) };
      await refused({ method: 'POST', target: '/b?delete', body, headers }, 400, 'MalformedXML');
    }
    assert.equal(bucket.size, 1);
  });
});

test('nothing unknown is passed over in silence', async () => {
  bucket.put('k', 'x');
  for (const target of [
    '/b/k?versionId=1',
    '/b/k?acl',
    '/b/k?response-content-type=a',
    '/b?versioning',
    '/b?uploads',
  ]) {
    await refused({ target }, 501, 'NotImplemented');
  }
  await refused({ method: 'POST', target: '/b/k?uploads', body: '' }, 501, 'NotImplemented');
  await refused({ method: 'PATCH', target: '/b/k' }, 405, 'MethodNotAllowed');
  const copy = { method: 'PUT', target: '/b/copy', body: '', headers: { 'x-amz-copy-source': '/b/k' } };
  await refused(copy, 501, 'NotImplemented');
  assert.equal(bucket.size, 1);
});

test('buckets are made, told of, found and removed', async () => {
  assert.equal((await send(server, { method: 'PUT', target: '/made' })).status, 200);
  await refused({ method: 'PUT', target: '/made' }, 409, 'BucketAlreadyOwnedByYou');
  await refused({ method: 'PUT', target: '/NoGood' }, 400, 'InvalidBucketName');
  const head = await send(server, { method: 'HEAD', target: '/made' });
  assert.deepEqual(
    { status: head.status, region: head.headers['x-amz-bucket-region'] },
    { status: 200, region: 'us-east-1' },
  );
  assert.match(
    (await send(server, { target: '/made?location' })).text,
    /<LocationConstraint [^>]*><\/LocationConstraint>/,
  );
  assert.match((await send(server, { target: '/' })).text, /<Name>made<\/Name>/);
  server.bucket('made').put('k', 'x');
  await refused({ method: 'DELETE', target: '/made' }, 409, 'BucketNotEmpty');
  server.bucket('made').clear();
  assert.equal((await send(server, { method: 'DELETE', target: '/made' })).status, 204);
  await refused({ method: 'HEAD', target: '/made' }, 404, undefined);
});

test('requests are remembered, the last ones', async () => {
  await using small = await startS3Server({ buckets: ['b'], requestsMax: 3 });
  for (let i = 0; i < 10; i++) await send(small, { method: 'PUT', target: `/b/${i}`, body: 'body' });
  await send(small, { target: '/b/absent?x-id=GetObject' });
  const last = small.requests.at(-1);
  assert.ok(small.requests.length <= 6);
  assert.deepEqual(
    { op: last?.op, key: last?.key, status: last?.status, error: last?.error, id: last?.query.get('x-id') },
    { op: 'GetObject', key: 'absent', status: 404, error: 'NoSuchKey', id: 'GetObject' },
  );
  assert.equal(small.requests.at(-2)?.receivedBytes, 4);
  small.clearRequests();
  assert.equal(small.requests.length, 0);
});
