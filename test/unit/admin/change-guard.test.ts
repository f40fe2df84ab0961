/** Who may change something over HTTP, and who may not. */
import assert from 'node:assert/strict';
import type { IncomingHttpHeaders } from 'node:http';
import { describe, test } from 'node:test';
import { ChangeGuard } from '../../../src/admin/change-guard.ts';

const TOKEN = 'a token of 24 characters';
const KEY = TOKEN.replaceAll(' ', '-');

const good: IncomingHttpHeaders = {
  host: 'disks.example:9310',
  'content-type': 'application/json',
  authorization: `Bearer ${KEY}`,
};

const status = (headers: IncomingHttpHeaders, token: string | null = KEY): number | undefined =>
  new ChangeGuard(token).refusal({ ...good, ...headers })?.status;

describe('the token', () => {
  test('lets its owner through', () => {
    assert.equal(status({}), undefined);
    assert.equal(status({ authorization: `bearer ${KEY}` }), undefined);
  });

  for (const authorization of [undefined, '', 'Bearer', 'Bearer ', KEY, `Basic ${KEY}`, `Bearer ${KEY} ${KEY}`]) {
    test(`is missing in ${JSON.stringify(authorization)}`, () => {
      const refusal = new ChangeGuard(KEY).refusal({ ...good, authorization });
      assert.deepEqual([refusal?.status, refusal?.headers['www-authenticate']], [401, 'Bearer']);
    });
  }

  for (const wrong of [`${KEY}x`, KEY.slice(0, -1), KEY.toUpperCase(), 'x']) {
    test(`is not ${wrong}`, () => {
      assert.equal(status({ authorization: `Bearer ${wrong}` }), 401);
    });
  }

  test('that there is none of lets nobody through', () => {
    assert.equal(status({}, null), 403);
    assert.equal(status({ authorization: 'Bearer null' }, null), 403);
  });

  test('is in no refusal', () => {
    const refusal = new ChangeGuard(KEY).refusal({ ...good, authorization: `Bearer ${KEY}x` });
    assert.ok(!JSON.stringify(refusal).includes(KEY));
  });
});

describe('another page', () => {
  for (const origin of ['http://evil.example', 'http://disks.example', 'http://disks.example:9311', 'null', '', 'x']) {
    test(`at ${JSON.stringify(origin)} is refused, whatever it knows`, () => assert.equal(status({ origin }), 403));
  }

  for (const site of ['cross-site', 'same-site', 'anything']) {
    test(`that the browser calls ${site} is refused`, () => assert.equal(status({ 'sec-fetch-site': site }), 403));
  }

  test('is not our own, also behind a proxy that speaks TLS', () => {
    assert.equal(status({ origin: 'http://disks.example:9310', 'sec-fetch-site': 'same-origin' }), undefined);
    assert.equal(status({ origin: 'https://disks.example:9310' }), undefined);
    assert.equal(status({ origin: 'http://Disks.Example:9310', host: 'DISKS.example:9310' }), undefined);
  });

  for (const type of [
    undefined,
    'text/plain',
    'application/x-www-form-urlencoded',
    'multipart/form-data',
    'application/jsonx',
  ]) {
    test(`cannot send ${type}, which needs no leave`, () => assert.equal(status({ 'content-type': type }), 415));
  }
});
