/** What answers at the endpoint is no S3 server, a broken one or a hostile one: nothing is believed that is not proven. */
import assert from 'node:assert/strict';
import { getEventListeners } from 'node:events';
import { createServer, type RequestListener, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { Readable } from 'node:stream';
import { afterEach, describe, it, type TestContext } from 'node:test';
import type { StorageError } from '../../../../src/lib/errors.ts';
import { S3ObjectStore } from '../../../../src/object/s3/s3-object-store.ts';
import type { S3StoreOptions } from '../../../../src/object/s3/s3-options.ts';
import { s3OptionsFor } from '../../../conformance/object-store/s3-options.ts';
import { stackOn } from '../../../conformance/object-store/stack.ts';
import { listKeys } from '../../../conformance/object-store/suite.ts';
import { failsAs } from './fails-as.ts';

describe('S3ObjectStore on servers that are not S3', () => {
  let server: Server | undefined;
  afterEach(async () => {
    server?.closeAllConnections();
    await new Promise((resolve) => (server === undefined ? resolve(null) : server.close(resolve)));
  });

  async function openOn(
    t: TestContext,
    listener: RequestListener,
    options: Partial<S3StoreOptions> = {},
  ): Promise<S3ObjectStore> {
    server = createServer(listener);
    await new Promise<void>((resolve) => server?.listen(0, '127.0.0.1', resolve));
    const endpoint = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    const address = { endpoint, region: 'us-east-1', accessKeyId: 'id', secretAccessKey: 'secret' };
    const store = new S3ObjectStore(s3OptionsFor(address, 'disk', options));
    t.after(() => store.close());
    return store;
  }

  const xml = (body: string): string => `<?xml version="1.0" encoding="UTF-8"?>${body}`;

  it('never takes a 404 of something else for a missing key', async (t) => {
    for (const body of [
      '',
      '<html><body>default backend - 404</body></html>',
      'not found',
      '{"error":"no"}',
      xml('<Error/>'),
    ]) {
      const store = await openOn(t, (request, response) => {
        response.writeHead(404, { 'content-type': 'text/html' });
        response.end(request.method === 'HEAD' ? undefined : body);
      });
      await assert.rejects(store.get('key'), failsAs('UNAVAILABLE', true, /not S3's/), body);
      await assert.rejects(store.get('key', { range: { offset: 0, length: 1 } }), failsAs('UNAVAILABLE', true), body);
      await assert.rejects(store.head('key'), failsAs('UNAVAILABLE', true), body);
      await assert.rejects(listKeys(store, ''), failsAs('UNAVAILABLE', true), body);
      server?.closeAllConnections();
      server?.close();
    }
  });

  it('does not trust a range that is not the one asked for', async (t) => {
    let contentRange = '';
    let body = 'abcd';
    const store = await openOn(t, (_, response) => {
      response.writeHead(206, { 'content-range': contentRange, 'content-length': body.length, etag: '"e"' });
      response.end(body);
    });
    const range = { offset: 4, length: 4 };
    for (const wrong of ['bytes 0-3/100', 'bytes 4-8/100', 'bytes 4-6/100', 'bytes 4-7/*', '', 'lines 4-7/100']) {
      contentRange = wrong;
      await assert.rejects(store.get('key', { range }), failsAs('UNAVAILABLE', true, 'Content-Range|asked for'), wrong);
    }
    contentRange = 'bytes 4-5/6';
    await assert.rejects(store.get('key', { range }), failsAs('INVALID', false));
    contentRange = 'bytes 4-7/100';
    assert.equal((await store.get('key', { range }))?.sizeBytes, 100);
    body = 'abc';
    await assert.rejects(store.get('key', { range }), failsAs('UNAVAILABLE', true, '3 of 4 bytes'));
  });

  it('names the region a bucket is in', async (t) => {
    const store = await openOn(t, (_, response) => {
      response.writeHead(301, { 'x-amz-bucket-region': 'eu-west-3' });
      response.end(xml('<Error><Code>PermanentRedirect</Code><Message>Elsewhere.</Message></Error>'));
    });
    await assert.rejects(store.get('key'), failsAs('INVALID', false, 'eu-west-3', 'store.region'));
    await assert.rejects(store.head('key'), failsAs('INVALID', false, 'eu-west-3'));
  });

  it('refuses listings that would lose keys or never end', async (t) => {
    const page = (keys: string[], token: string | null): string =>
      xml(
        `<ListBucketResult><Name>disk</Name><KeyCount>${keys.length}</KeyCount>` +
          `<IsTruncated>${token !== null}</IsTruncated>` +
          (token === null ? '' : `<NextContinuationToken>${token}</NextContinuationToken>`) +
          keys.map((key) => `<Contents><Key>${key}</Key><Size>1</Size><ETag>"e"</ETag></Contents>`).join('') +
          '</ListBucketResult>',
      );
    let pages: string[] = [];
    const store = await openOn(t, (_, response) => response.end(pages.length > 1 ? pages.shift() : pages[0]));
    for (const wrong of [
      [page(['b', 'a'], null)],
      [page(['a', 'a'], null)],
      [page(['a', 'b'], 't'), page(['b', 'c'], null)],
      [page(['a'], 't'), page(['b'], 't')],
      [page(['a'], '')],
      [page([], 't'), page([], 't')],
    ]) {
      pages = wrong;
      await assert.rejects(listKeys(store, ''), failsAs('UNSUPPORTED', false), wrong.join());
    }
    for (const incomplete of ['', xml('<ListBucketResult><Name>disk</Name></ListBucketResult>')]) {
      pages = [incomplete];
      await assert.rejects(listKeys(store, ''), failsAs('UNAVAILABLE', true, 'whether it is complete'));
    }
    pages = [page(['other'], null)];
    await assert.rejects(listKeys(store, 'v/'), failsAs('UNSUPPORTED', false, 'not asked for'));
    pages = [page(['a', 'b'], null).replace('<KeyCount>2', '<KeyCount>3')];
    await assert.rejects(listKeys(store, ''), failsAs('UNAVAILABLE', true, '2 of 3'));
    pages = [page(['a'], 't').replace(/<IsTruncated>.*<\/IsTruncated>/, '')];
    await assert.rejects(listKeys(store, ''), failsAs('UNAVAILABLE', true, 'whether it is complete'));
    pages = [page(['a'], 't'), page([], 'u'), page(['b'], null)];
    assert.deepEqual(await listKeys(store, ''), ['a', 'b']);
  });

  it('does not take a page of HTML for an answer', async (t) => {
    for (const html of ['<html><body>Welcome to nginx!</body>', '<html><body>Welcome to nginx!</body></html>']) {
      const store = await openOn(t, (_, response) => {
        response.setHeader('content-type', 'text/html; charset=utf-8');
        response.end(html);
      });
      await assert.rejects(listKeys(store, ''), failsAs('UNAVAILABLE', true));
      await assert.rejects(store.get('key'), failsAs('UNAVAILABLE', true, 'ETag'));
      await assert.rejects(store.head('key'), failsAs('UNAVAILABLE', true));
      await assert.rejects(store.put('key', Buffer.from('x')), failsAs('UNAVAILABLE', true));
      await assert.rejects(store.delete(['a', 'b']), failsAs('UNAVAILABLE', true));
      await assert.rejects(store.delete(['a']), failsAs('UNAVAILABLE', true));
      server?.closeAllConnections();
      server?.close();
    }
  });

  it('takes nothing for deleted that the server does not confirm', async (t) => {
    let answer = '';
    const store = await openOn(t, (_, response) => {
      response.setHeader('content-type', 'application/xml');
      response.end(answer);
    });
    for (answer of [
      '',
      xml('<DeleteResult/>'),
      xml('<DeleteResult><Deleted><Key>a</Key></Deleted></DeleteResult>'),
      `${xml('<Error><Code>InternalError</Code><Message>Try again.</Message></Error>')}\n`,
    ]) {
      await assert.rejects(store.delete(['a', 'b']), failsAs('UNAVAILABLE', true, 'of 2 were confirmed'), answer);
    }
    answer = xml(
      '<DeleteResult><Deleted><Key>a</Key></Deleted>' +
        '<Error><Key>b</Key><Code>NoSuchKey</Code><Message>Not there.</Message></Error></DeleteResult>',
    );
    await store.delete(['a', 'b', 'a']);
  });

  it('goes on with a listing that has a continuation token, whatever word it has for being truncated', async (t) => {
    const page = (keys: string[], truncated: string, token: string): string =>
      xml(
        `<ListBucketResult><KeyCount>${keys.length}</KeyCount><IsTruncated>${truncated}</IsTruncated>` +
          `<NextContinuationToken>${token}</NextContinuationToken>` +
          keys.map((key) => `<Contents><Key>${key}</Key><Size>1</Size></Contents>`).join('') +
          '</ListBucketResult>',
      );
    let pages: string[] = [];
    const store = await openOn(t, (_, response) => response.end(pages.shift()));
    for (const word of ['1', 'yes', '', 'false']) {
      for (const last of [page(['b'], 'false', ''), page(['b'], 'false', 't')]) {
        pages = [page(['a'], word, 't'), last];
        assert.deepEqual(await listKeys(store, ''), ['a', 'b'], word);
        assert.equal(pages.length, 0);
      }
      pages = [page(['a'], word, 't'), page([], 'false', 'u')];
      assert.deepEqual(await listKeys(store, ''), ['a'], word);
    }
  });

  it('deletes singly what an answer for many keys does not name', async (t) => {
    const single: string[] = [];
    const store = await openOn(t, (request, response) => {
      if (request.method === 'POST') {
        response.end(
          xml('<DeleteResult><Deleted><Key>a</Key></Deleted><Deleted><Key>c</Key></Deleted></DeleteResult>'),
        );
        return;
      }
      single.push(`${request.method} ${request.url?.replace(/\?.*/, '')}`);
      response.writeHead(204);
      response.end();
    });
    await store.delete(['a', 'b']);
    assert.deepEqual(single, ['DELETE /disk/b']);
  });

  it('takes nothing for done that is only accepted', async (t) => {
    const store = await openOn(t, (_, response) => {
      response.writeHead(202, { etag: '"e"' });
      response.end();
    });
    await assert.rejects(
      store.put('key', Buffer.from('x')),
      failsAs('UNAVAILABLE', true, 'writing the object key', '202'),
    );
    await assert.rejects(store.delete(['key']), failsAs('UNAVAILABLE', true, '202'));
  });

  it('leaves no single delete under way when one of them has failed', async (t) => {
    let underWay = 0;
    let deletes = 0;
    const store = await openOn(t, (request, response) => {
      if (request.method === 'POST') {
        response.writeHead(501);
        response.end(xml('<Error><Code>NotImplemented</Code><Message>No.</Message></Error>'));
        return;
      }
      underWay += 1;
      deletes += 1;
      const fails = request.url?.startsWith('/disk/k0') ?? false;
      setTimeout(
        () => {
          underWay -= 1;
          response.writeHead(fails ? 500 : 204);
          response.end();
        },
        fails ? 0 : 30,
      );
    });
    const keys = Array.from({ length: 40 }, (_, i) => `k${i}`);
    await assert.rejects(store.delete(keys), failsAs('UNAVAILABLE', true, 'deleting the object k0 '));
    assert.equal(underWay, 0);
    const sent = deletes;
    await new Promise((resolve) => setTimeout(resolve, 60));
    assert.equal(deletes, sent);
  });

  it('gives every single delete its own time', async (t) => {
    const store = await openOn(
      t,
      (request, response) => {
        response.statusCode = request.method === 'POST' ? 501 : 204;
        setTimeout(() => response.end(), 50);
      },
      { requestTimeoutMs: 400 },
    );
    await store.delete(Array.from({ length: 100 }, (_, i) => `k${i}`));
  });

  it('keeps its connections where answers make no sense', async (t) => {
    let sane = false;
    const store = await openOn(
      t,
      (_, response) => {
        response.setHeader('etag', '"e"');
        if (!sane) response.setHeader('last-modified', 'once upon a time');
        response.end(sane ? 'body' : Buffer.alloc(1_000_000));
      },
      { concurrency: 2, requestTimeoutMs: 2000 },
    );
    for (let i = 0; i < 4; i++) await assert.rejects(store.get('key'), failsAs('UNAVAILABLE', true, 'not understood'));
    sane = true;
    assert.equal((await store.get('key'))?.body.toString(), 'body');
  });

  it('reads no more than it has to of a body without end', async (t) => {
    let status = 206;
    const ended: Promise<void>[] = [];
    let bytesSent = 0;
    const store = await openOn(t, (request, response) => {
      response.writeHead(status, { 'content-range': 'bytes 0-3/100', etag: '"e"' });
      const endless = new Readable({
        read() {
          bytesSent += 65_536;
          this.push(Buffer.alloc(65_536, ' '));
        },
      });
      endless.pipe(response);
      request.socket.on('error', () => {}); // It is reset in the middle of the body.
      ended.push(
        new Promise((resolve) => {
          request.socket.on('close', () => {
            endless.destroy();
            resolve();
          });
        }),
      );
    });
    await assert.rejects(store.get('key', { range: { offset: 0, length: 4 } }), failsAs('UNAVAILABLE', true));
    for (status of [200, 500]) {
      await assert.rejects(listKeys(store, ''), failsAs('UNAVAILABLE', true, /more than 16777216 bytes/));
    }
    await Promise.all(ended);
    assert.ok(bytesSent < 100 * 1024 * 1024, `${bytesSent} bytes`);
  });

  it('takes a range out of a long body without waiting for the rest, and no body larger than any of ours', async (t) => {
    const store = await openOn(t, (request, response) => {
      response.writeHead(200, { etag: '"e"', 'content-length': 2 ** 40 });
      response.write(Buffer.from('0123456789'));
      if (request.headers.range === undefined) response.write(Buffer.alloc(1));
    });
    const part = await store.get('key', { range: { offset: 3, length: 4 } });
    assert.equal(part?.body.toString(), '3456');
    assert.equal(part?.sizeBytes, 2 ** 40);
    await assert.rejects(store.get('key'), failsAs('CORRUPT', false, '1099511627776 bytes'));
  });

  it('tries again what is throttled, redirected away, or failing under another status', async (t) => {
    let status = 0;
    let code = '';
    const store = await openOn(t, (_, response) => {
      response.writeHead(status, { location: 'http://127.0.0.1:1/login' });
      response.end(code === '' ? '' : xml(`<Error><Code>${code}</Code><Message>Said so.</Message></Error>`));
    });
    for ([status, code] of [
      [400, 'ThrottlingException'],
      [400, 'KMS.ThrottlingException'],
      [403, 'RequestThrottled'],
      [400, 'TooManyRequestsException'],
      [400, 'InternalError'],
      [400, 'ServiceUnavailable'],
      [302, ''],
      [307, ''],
    ] as [number, string][]) {
      await assert.rejects(store.put('key', Buffer.from('x')), failsAs('UNAVAILABLE', true, code), `${status} ${code}`);
      await assert.rejects(store.get('key'), failsAs('UNAVAILABLE', true, code), `${status} ${code}`);
    }
  });

  it("reads a Retry-After that is a date by the server's clock", async (t) => {
    const serverMs = Date.now() + 3 * 3600_000;
    const store = await openOn(t, (_, response) => {
      response.writeHead(503, {
        date: new Date(serverMs).toUTCString(),
        'retry-after': new Date(serverMs + 4000).toUTCString(),
      });
      response.end();
    });
    await assert.rejects(store.get('key'), (error) => (error as StorageError).retryAfterMs === 4000);
  });

  it('keeps no trace of 2000 requests on a signal that lives on', async (t) => {
    const { signal } = new AbortController();
    const store = await openOn(t, (request, response) => {
      response.setHeader('etag', '"e"');
      response.statusCode = request.url?.includes('fails') ? 503 : 200;
      response.end('body');
    });
    const { store: stack } = stackOn(store, 0);
    const one = (i: number): Promise<unknown> =>
      i % 5 === 0 ? assert.rejects(stack.get('fails', { signal })) : stack.get('key', { signal });
    for (let i = 0; i < 2000; i += 20) await Promise.all(Array.from({ length: 20 }, (_, j) => one(i + j)));
    assert.equal(getEventListeners(signal, 'abort').length, 0);
  });
});
