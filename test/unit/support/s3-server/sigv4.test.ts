/** The signing functions, held to the examples in AWS's documentation of S3's Signature Version 4. */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { describe, test } from 'node:test';
import {
  canonicalRequest,
  formatAmzDate,
  parseAuthorization,
  parseSigningDate,
  type SignedMessage,
  signatureOf,
  signingKey,
  stringToSign,
} from '../../../support/s3-server/sigv4.ts';

const SECRET = 'wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY';
const EMPTY = createHash('sha256').digest('hex');
const AMZ_DATE = '20130524T000000Z';
const SCOPE = { date: '20130524', region: 'us-east-1', service: 's3' };
const HOST = 'examplebucket.s3.amazonaws.com';

function message(method: string, rawPath: string, rawQuery: string, headers: Record<string, string>): SignedMessage {
  return {
    method,
    rawPath,
    rawQuery,
    headers: new Map(Object.entries(headers).map(([name, value]) => [name, [value]])),
  };
}

function sign(one: SignedMessage, payloadHash: string): string {
  const key = signingKey(SECRET, SCOPE.date, SCOPE.region, SCOPE.service);
  return signatureOf(one, { ...SCOPE, signedHeaders: [...one.headers.keys()].sort() }, AMZ_DATE, payloadHash, key);
}

describe('AWS’s examples', () => {
  const common = { host: HOST, 'x-amz-content-sha256': EMPTY, 'x-amz-date': AMZ_DATE };

  test('GET of an object, with a range', () => {
    const get = message('GET', '/test.txt', '', { ...common, range: 'bytes=0-9' });
    const canonical = canonicalRequest(get, [...get.headers.keys()].sort(), EMPTY);
    assert.equal(
      createHash('sha256').update(canonical).digest('hex'),
      '7344ae5b7ee6c3e7e6b0fe0640412a37625d1fbfff95c48bbb2dc43964946972',
    );
    assert.match(stringToSign(canonical, AMZ_DATE, '20130524/us-east-1/s3/aws4_request'), /^AWS4-HMAC-SHA256\n2013/);
    assert.equal(sign(get, EMPTY), 'f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41');
  });

  test('PUT of an object, with a key that must be encoded', () => {
    const hash = createHash('sha256').update('Welcome to Amazon S3.').digest('hex');
    assert.equal(hash, '44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072');
    const put = message('PUT', '/test$file.text', '', {
      date: 'Fri, 24 May 2013 00:00:00 GMT',
      host: HOST,
      'x-amz-content-sha256': hash,
      'x-amz-date': AMZ_DATE,
      'x-amz-storage-class': 'REDUCED_REDUNDANCY',
    });
    assert.equal(sign(put, hash), '98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd');
  });

  test('GET of a subresource, with a parameter that has no value', () => {
    assert.equal(
      sign(message('GET', '/', 'lifecycle', common), EMPTY),
      'fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543',
    );
  });

  test('a listing, whatever the order of its parameters', () => {
    const expected = '34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7';
    assert.equal(sign(message('GET', '/', 'max-keys=2&prefix=J', common), EMPTY), expected);
    assert.equal(sign(message('GET', '/', 'prefix=J&max-keys=2', common), EMPTY), expected);
  });
});

describe('the canonical request', () => {
  test('keeps the slashes of a path and encodes the rest once, whether the client encoded it or not', () => {
    const path = (rawPath: string): string | undefined =>
      canonicalRequest(message('GET', rawPath, '', {}), [], EMPTY).split('\n')[1];
    assert.equal(path('/b//x/../y'), '/b//x/../y');
    assert.equal(path("/b/a+b!*'()~$%20%c3%a9"), '/b/a%2Bb%21%2A%27%28%29~%24%20%C3%A9');
    assert.throws(() => path('/b/%zz'), { code: 'InvalidURI' });
  });

  test('sorts parameters by name before value', () => {
    const query = (rawQuery: string): string | undefined =>
      canonicalRequest(message('GET', '/', rawQuery, {}), [], EMPTY).split('\n')[2];
    assert.equal(query('a-b=1&a=2&a=1'), 'a=1&a=2&a-b=1');
    assert.equal(query('prefix=a%2Fb+c&delimiter=/'), 'delimiter=%2F&prefix=a%2Fb%20c');
  });

  test('trims values, folds their spaces and joins repeated headers', () => {
    const repeated: SignedMessage = {
      ...message('GET', '/', '', {}),
      headers: new Map([['x-amz-a', [' 1  2 ', '3']]]),
    };
    assert.match(canonicalRequest(repeated, ['x-amz-a'], EMPTY), /\nx-amz-a:1 2,3\n/);
  });
});

test('a date is read in either form and told in one', () => {
  const timeMs = Date.UTC(2013, 4, 24, 1, 2, 3);
  assert.deepEqual(parseSigningDate('20130524T010203Z'), { timeMs, amzDate: '20130524T010203Z' });
  assert.deepEqual(parseSigningDate('Fri, 24 May 2013 01:02:03 GMT'), { timeMs, amzDate: '20130524T010203Z' });
  assert.equal(parseSigningDate('soon'), null);
  assert.equal(formatAmzDate(timeMs), '20130524T010203Z');
});

test('an authorization header is taken apart, spaces or not, and refused where a part is missing', () => {
  const signature = 'a'.repeat(64);
  const credential = 'A/B/20130524/eu-west-1/s3/aws4_request';
  for (const separator of [',', ', ']) {
    const parts = [`Credential=${credential}`, 'SignedHeaders=host;x-amz-date', `Signature=${signature}`];
    assert.deepEqual(parseAuthorization(`AWS4-HMAC-SHA256 ${parts.join(separator)}`), {
      accessKeyId: 'A/B',
      date: '20130524',
      region: 'eu-west-1',
      service: 's3',
      signedHeaders: ['host', 'x-amz-date'],
      signature,
    });
  }
  const malformed = { code: 'AuthorizationHeaderMalformed' };
  assert.throws(
    () => parseAuthorization(`AWS4-HMAC-SHA256 Credential=${credential},Signature=${signature}`),
    malformed,
  );
  assert.throws(() => parseAuthorization('AWS4-HMAC-SHA256 Credential=x,SignedHeaders=host,Signature=y'), malformed);
  assert.throws(() => parseAuthorization('Bearer x'), malformed);
  assert.throws(() => parseAuthorization('AWS key:signature'), { code: 'InvalidRequest' });
});
