/** Who is let in: good and bad signatures, clocks, digests and anonymous requests. */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { after, describe, test } from 'node:test';
import { clockSkew } from '../../../support/s3-server/faults.ts';
import { startS3Server } from '../../../support/s3-server/s3-server.ts';
import { type RawRequest, send, signedHeaders } from './raw-client.ts';

const server = await startS3Server({ buckets: ['b'] });
after(() => server.close());
server.bucket('b').put('k', 'value');

async function refused(raw: RawRequest, status: number, code: string): Promise<void> {
  const answer = await send(server, raw);
  assert.deepEqual({ status: answer.status, code: answer.code }, { status, code });
  assert.match(answer.text, /<RequestId>[0-9A-F]{16}<\/RequestId>/);
  assert.ok(answer.headers['x-amz-request-id']);
}

const get = { target: '/b/k' };

test('a good signature is let in', async () => {
  const answer = await send(server, get);
  assert.equal(answer.status, 200);
  assert.equal(answer.text, 'value');
});

test('the wrong key, secret, region and service are told apart', async () => {
  await refused({ ...get, accessKeyId: 'OTHER' }, 403, 'InvalidAccessKeyId');
  await refused({ ...get, secretAccessKey: 'wrong' }, 403, 'SignatureDoesNotMatch');
  await refused({ ...get, region: 'eu-west-1' }, 400, 'AuthorizationHeaderMalformed');
  await refused(
    { ...get, unsigned: { authorization: 'AWS4-HMAC-SHA256 nonsense' } },
    400,
    'AuthorizationHeaderMalformed',
  );
  await refused({ ...get, unsigned: { authorization: 'AWS key:c2ln' } }, 400, 'InvalidRequest');
});

test('whatever the signature covers cannot be changed afterwards', async () => {
  const headers = signedHeaders(server, { target: '/b/other', headers: { range: 'bytes=0-1' } });
  const asIs = { target: '/b/k', anonymous: true, headers };
  await refused(asIs, 403, 'SignatureDoesNotMatch');
  await refused({ ...asIs, target: '/b/other?x-id=GetObject' }, 403, 'SignatureDoesNotMatch');
  await refused({ ...asIs, target: '/b/other', method: 'DELETE' }, 403, 'SignatureDoesNotMatch');
  await refused({ ...asIs, target: '/b/other', unsigned: { range: 'bytes=0-2' } }, 403, 'SignatureDoesNotMatch');
  assert.equal(server.bucket('b').size, 1);
});

test('headers that S3 acts on must be signed', async () => {
  await refused({ ...get, unsigned: { 'x-amz-checksum-mode': 'ENABLED' } }, 403, 'AccessDenied');
  await refused(
    { method: 'PUT', target: '/b/new', body: 'x', unsigned: { 'content-md5': 'nUFA2EG1XmXzQDQYg6jSbw==' } },
    403,
    'AccessDenied',
  );
});

test('a clock that is more than 15 minutes off is told both times', async () => {
  for (const offMs of [-16 * 60_000, 16 * 60_000]) {
    const answer = await send(server, { ...get, dateMs: Date.now() + offMs });
    assert.equal(answer.status, 403);
    assert.equal(answer.code, 'RequestTimeTooSkewed');
    assert.match(answer.text, /<ServerTime>.*<\/ServerTime>/);
  }
  assert.equal((await send(server, { ...get, dateMs: Date.now() - 14 * 60_000 })).status, 200);
});

test('the server’s own clock can be off, and its Date says so', async () => {
  const rule = server.faults.add(clockSkew(-3_600_000));
  const answer = await send(server, get);
  rule.remove();
  assert.equal(answer.code, 'RequestTimeTooSkewed');
  const offMs = Date.parse(answer.headers.date ?? '') - Date.now();
  assert.ok(Math.abs(offMs + 3_600_000) < 60_000, `${offMs}`);
  assert.equal((await send(server, get)).status, 200);
});

test('the body must be the one that was signed', async () => {
  const put = { method: 'PUT', target: '/b/new', body: 'signed' };
  const other = createHash('sha256').update('other').digest('hex');
  await refused({ ...put, payloadHash: other }, 400, 'XAmzContentSHA256Mismatch');
  await refused({ ...put, payloadHash: 'UNSIGNED-PAYLOAD' }, 400, 'InvalidRequest');
  await refused({ ...put, payloadHash: 'STREAMING-AWS4-HMAC-SHA256-PAYLOAD' }, 501, 'NotImplemented');
  await refused({ ...put, payloadHash: 'nonsense' }, 400, 'InvalidArgument');
  assert.equal(server.bucket('b').has('new'), false);
});

test('an unsigned payload is taken where the server is set so', async () => {
  await using lenient = await startS3Server({ buckets: ['b'], unsignedPayload: true });
  const answer = await send(lenient, { method: 'PUT', target: '/b/k', body: 'x', payloadHash: 'UNSIGNED-PAYLOAD' });
  assert.equal(answer.status, 200);
});

test('temporary credentials need their token', async () => {
  await using temporary = await startS3Server({ buckets: ['b'], sessionToken: 'token' });
  const missing = await send(temporary, { target: '/b/' });
  assert.equal(missing.code, 'InvalidToken');
  const given = await send(temporary, { target: '/b/', headers: { 'x-amz-security-token': 'token' } });
  assert.equal(given.status, 200);
});

describe('without a signature', () => {
  const open = server.createBucket('open', 'public-read');
  open.put('k', 'public');

  test('a private bucket is closed, a public one open for reading only', async () => {
    await refused({ ...get, anonymous: true }, 403, 'AccessDenied');
    await refused({ target: '/b/', anonymous: true }, 403, 'AccessDenied');
    assert.equal((await send(server, { target: '/open/k', anonymous: true })).text, 'public');
    assert.equal((await send(server, { target: '/open/?list-type=2', anonymous: true })).status, 200);
    await refused({ method: 'PUT', target: '/open/k', body: 'x', anonymous: true }, 403, 'AccessDenied');
    await refused({ method: 'DELETE', target: '/open/k', anonymous: true }, 403, 'AccessDenied');
  });

  test('a public object in a private bucket can be read', async () => {
    server.bucket('b').put('shown', 'seen', { headers: { 'x-amz-acl': 'public-read' } });
    assert.equal((await send(server, { target: '/b/shown', anonymous: true })).text, 'seen');
    server.bucket('b').delete('shown');
  });

  test('a presigned URL is refused, not taken for an anonymous request', async () => {
    await refused({ target: '/open/k?X-Amz-Algorithm=AWS4-HMAC-SHA256', anonymous: true }, 501, 'NotImplemented');
  });
});
