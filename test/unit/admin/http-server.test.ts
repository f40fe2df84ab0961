/** The HTTP server at admin.listen: its routes, whom it answers, and that nobody can hold it up. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect } from 'node:net';
import { describe, type TestContext, test } from 'node:test';
import { setImmediate as turn } from 'node:timers/promises';
import fc from 'fast-check';
import { isAllowedHost } from '../../../src/admin/allowed-host.ts';
import { type HttpRoutes, plain } from '../../../src/admin/http-routes.ts';
import { type HttpLimits, HttpServer } from '../../../src/admin/http-server.ts';
import { LogBook } from '../volume/fixtures.ts';

const LARGE_BYTES = 64 * 1024 * 1024;

const ROUTES: HttpRoutes = {
  '/metrics': { GET: () => plain(200, 'numbers') },
  '/late': { GET: async () => plain(503, 'not yet') },
  '/bug': {
    GET: () => {
      throw new TypeError('oops');
    },
  },
  '/large': { GET: () => plain(200, 'x'.repeat(LARGE_BYTES)) },
};

async function serve(t: TestContext, limits: Partial<HttpLimits> = {}, routes = ROUTES) {
  const log = new LogBook();
  const server = new HttpServer({ routes, hosts: ['disks.example'], token: null, log, limits });
  await server.listen('127.0.0.1', 0);
  t.after(() => server.close());
  const port = server.address?.port ?? 0;
  return { server, log, port, url: `http://127.0.0.1:${port}` };
}

/** Sends bytes as they stand, and returns all that comes back until the server closes. */
async function sendRaw(port: number, text: string): Promise<string> {
  const socket = connect(port, '127.0.0.1');
  let answer = '';
  socket.on('data', (data) => {
    answer += data;
  });
  socket.on('error', () => {});
  socket.write(text);
  // Not by `once`, which takes an error for the end.
  await new Promise((resolve) => socket.on('close', resolve));
  return answer;
}

const get = (path: string, host: string): string =>
  `GET ${path} HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\n\r\n`;

describe('routes', () => {
  test('are answered with what the handler says, whatever the query, and not to be kept or framed', async (t) => {
    const { url } = await serve(t);
    const answer = await fetch(`${url}/metrics?since=yesterday`);
    assert.equal(answer.status, 200);
    assert.equal(await answer.text(), 'numbers\n');
    assert.equal(answer.headers.get('cache-control'), 'no-store');
    assert.equal(answer.headers.get('x-content-type-options'), 'nosniff');
    assert.equal(answer.headers.get('access-control-allow-origin'), null);
    assert.match(answer.headers.get('content-security-policy') ?? '', /frame-ancestors 'none'/);
    const late = await fetch(`${url}/late`);
    assert.deepEqual([late.status, await late.text()], [503, 'not yet\n']);
  });

  test('HEAD tells the length and no body', async (t) => {
    const { url } = await serve(t);
    const answer = await fetch(`${url}/metrics`, { method: 'HEAD' });
    assert.deepEqual([answer.status, answer.headers.get('content-length'), await answer.text()], [200, '8', '']);
  });

  for (const path of ['/', '/nope', '/metrics/', '//metrics', '/__proto__', '/constructor', '/%6detrics']) {
    test(`${path} is not found, and not quoted`, async (t) => {
      const { port } = await serve(t);
      const answer = await sendRaw(port, get(path, 'localhost'));
      assert.match(answer, /^HTTP\/1\.1 404 /);
      assert.ok(path === '/' || !answer.includes(path));
    });
  }

  test('a whole url in place of a path is not found', async (t) => {
    const { port } = await serve(t);
    assert.match(await sendRaw(port, get('http://elsewhere.example/metrics', 'localhost')), /^HTTP\/1\.1 404 /);
  });

  for (const method of ['POST', 'PUT', 'DELETE', 'OPTIONS', 'PATCH', 'TRACE']) {
    test(`${method} is not allowed`, async (t) => {
      const { url, port } = await serve(t);
      if (method === 'TRACE') {
        const request = get('/metrics', 'localhost').replace('GET', method);
        assert.match(await sendRaw(port, request), /^HTTP\/1\.1 405 /);
        return;
      }
      const answer = await fetch(`${url}/metrics`, { method });
      assert.deepEqual([answer.status, answer.headers.get('allow')], [405, 'GET, HEAD']);
    });
  }

  test('a handler that fails is an error in the log and not the end', async (t) => {
    const { url, log } = await serve(t);
    const answer = await fetch(`${url}/bug`);
    assert.deepEqual([answer.status, await answer.text()], [500, 'internal error\n']);
    assert.deepEqual(log.messages('error'), ['an HTTP request failed unexpectedly']);
    assert.equal((await fetch(`${url}/metrics`)).status, 200);
  });
});

describe('whom it answers', () => {
  for (const host of [
    '127.0.0.1:9310',
    '[::1]:9310',
    '10.1.2.3',
    'localhost',
    'LocalHost:80',
    'a.localhost',
    'disks.example',
    'Disks.Example.:9310',
  ]) {
    test(`whoever asks ${host}`, async (t) => {
      const { port } = await serve(t);
      assert.match(await sendRaw(port, get('/metrics', host)), /^HTTP\/1\.1 200 /);
    });
  }

  for (const host of [
    'evil.example',
    'evil.example:9310',
    'localhost.evil.example',
    'notlocalhost',
    '127.0.0.1.evil.example',
    'x@127.0.0.1',
    '',
  ]) {
    test(`and not who asks "${host}"`, async (t) => {
      const { port } = await serve(t);
      const answer = await sendRaw(port, get('/metrics', host));
      assert.match(answer, /^HTTP\/1\.1 421 /);
      assert.ok(!answer.includes('numbers'));
    });
  }

  test('and nobody who names no host at all, or two of them', async (t) => {
    const { port } = await serve(t);
    assert.match(await sendRaw(port, 'GET /metrics HTTP/1.1\r\nConnection: close\r\n\r\n'), /^HTTP\/1\.1 400 /);
    const two = 'GET /metrics HTTP/1.1\r\nHost: evil.example\r\nHost: localhost\r\nConnection: close\r\n\r\n';
    assert.match(await sendRaw(port, two), /^HTTP\/1\.1 4(00|21) /);
  });

  test('no text that is neither an address nor a known name is taken for one', () => {
    fc.assert(
      fc.property(fc.domain(), fc.option(fc.nat(65_535), { nil: undefined }), (name, port) => {
        assert.equal(isAllowedHost(port === undefined ? name : `${name}:${port}`, ['disks.example']), false);
      }),
    );
  });
});

describe('bounds', () => {
  test('a client that does not finish its request is told, and closed', async (t) => {
    const { port } = await serve(t, { requestTimeoutMs: 50 });
    assert.match(await sendRaw(port, 'GET /metrics HTTP/1.1\r\nHost: localhost\r\nX-Slow'), /^HTTP\/1\.1 408 /);
  });

  test('a client that says nothing is closed', async (t) => {
    const { port } = await serve(t, { requestTimeoutMs: 50 });
    await sendRaw(port, '');
  });

  test('a client that does not take its answer is closed', async (t) => {
    const { port, log } = await serve(t, { answerTimeoutMs: 50 });
    const socket = connect(port, '127.0.0.1');
    socket.on('error', () => {});
    socket.write(get('/large', 'localhost'));
    // Until the server has cut it off nothing is read.
    while (log.messages('debug').length === 0) await turn();
    assert.deepEqual(log.messages('debug'), ['an HTTP client did not take its answer']);
    let bytes = 0;
    socket.on('data', (data) => {
      bytes += data.length;
    });
    await new Promise((resolve) => socket.on('close', resolve));
    assert.ok(bytes < LARGE_BYTES);
  });

  test('headers that are too long are refused', async (t) => {
    const { port } = await serve(t);
    const long = `GET /metrics HTTP/1.1\r\nHost: localhost\r\nX-Long: ${'x'.repeat(16 * 1024)}\r\n\r\n`;
    assert.match(await sendRaw(port, long), /^HTTP\/1\.1 431 /);
  });

  test('a body is not waited for', async (t) => {
    const { port } = await serve(t);
    const request = 'POST /metrics HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\r\nx';
    assert.match(await sendRaw(port, request), /^HTTP\/1\.1 405 [\s\S]*connection: close/i);
  });

  test('one connection too many is closed, and the others are answered', async (t) => {
    const { port, url } = await serve(t, { connectionsMax: 2 });
    const held = [connect(port, '127.0.0.1'), connect(port, '127.0.0.1')];
    await Promise.all(held.map((socket) => once(socket, 'connect')));
    assert.equal(await sendRaw(port, get('/metrics', 'localhost')), '');
    for (const socket of held) {
      socket.destroy();
      await once(socket, 'close');
    }
    // The server sees them go a little later than we do.
    for (;;) {
      const answer = await fetch(`${url}/metrics`).catch(() => null);
      if (answer?.status === 200) break;
    }
  });

  test('who sends a thousand requests in one go has a handler run once, and is closed', async (t) => {
    let asked = 0;
    const count = () => plain(200, `${++asked}`);
    const { port } = await serve(t, {}, { '/count': { GET: count } });
    await sendRaw(
      port,
      get('/count', 'localhost')
        .replace(/Connection.*\r\n/, '')
        .repeat(1000),
    );
    assert.equal(asked, 1);
    // One after the other they are answered, on one connection.
    const socket = connect(port, '127.0.0.1');
    t.after(() => socket.destroy());
    for (const answer of ['2', '3', '4']) {
      socket.write('GET /count HTTP/1.1\r\nHost: localhost\r\n\r\n');
      const [data] = await once(socket, 'data');
      assert.match(`${data}`, new RegExp(`\r\n${answer}\n$`));
    }
  });

  test('closing does not wait for anybody', async (t) => {
    const { server, port } = await serve(t);
    const socket = connect(port, '127.0.0.1');
    socket.on('error', () => {});
    await once(socket, 'connect');
    const closed = once(socket, 'close');
    socket.resume();
    await server.close();
    await closed;
    await server.close();
  });
});

describe('an address', () => {
  test('that is in use is told, with the way out', async (t) => {
    const { port, log } = await serve(t);
    const second = new HttpServer({ routes: {}, hosts: [], token: null, log });
    const message = `127.0.0.1:${port} is in use by somebody else; set admin.listen to another address, or to null for none`;
    await assert.rejects(second.listen('127.0.0.1', port), { code: 'HELD', message });
    await second.close();
  });

  test('that is not this machine is told too', async (t) => {
    const { log } = await serve(t);
    const server = new HttpServer({ routes: {}, hosts: [], token: null, log });
    await assert.rejects(server.listen('192.0.2.1', 0), {
      code: 'INVALID',
      message: /192\.0\.2\.1:0 cannot be listened on/,
    });
  });
});
