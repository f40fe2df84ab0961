/** The control socket from both ends: what is asked, what is answered, what is refused, and that it never keeps us from stopping. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { link, mkdir, stat, writeFile } from 'node:fs/promises';
import { type AgentOptions, createServer, globalAgent, request } from 'node:http';
import { connect, createServer as createSocketServer } from 'node:net';
import { join } from 'node:path';
import { describe, type TestContext, test } from 'node:test';
import { setTimeout as pause, setImmediate as turn } from 'node:timers/promises';
import { askAppliance } from '../../../src/admin/control-client.ts';
import { type ControlRoutes, ControlServer } from '../../../src/admin/control-server.ts';
import { HTTP_STATUS } from '../../../src/admin/http-status.ts';
import { type ErrorCode, StorageError } from '../../../src/lib/errors.ts';
import { tempDir } from '../../support/temp.ts';
import { LogBook } from '../volume/fixtures.ts';

async function serve(t: TestContext, routes: ControlRoutes) {
  const dir = await tempDir(t, 'control');
  const path = join(dir, 'control.sock');
  const log = new LogBook();
  const server = new ControlServer(path, routes, log);
  await server.listen();
  t.after(() => server.close());
  return { dir, path, log, server };
}

/** Sends bytes as they stand, and returns all that comes back. */
async function sendRaw(path: string, ...pieces: readonly (string | Buffer)[]): Promise<string> {
  const socket = connect(path);
  let answer = '';
  socket.on('data', (data) => {
    answer += data;
  });
  for (const piece of pieces) socket.write(piece);
  socket.on('error', () => {});
  await once(socket, 'close');
  return answer;
}

const echo: ControlRoutes = { 'GET /v1/status': async () => ({ fine: true }), 'POST /v1/echo': async (body) => body };

describe('asking', () => {
  test('gets the answer of the handler, with and without a body', async (t) => {
    const { path } = await serve(t, echo);
    assert.deepEqual(await askAppliance(path, 'GET', '/v1/status'), { fine: true });
    assert.deepEqual(await askAppliance(path, 'POST', '/v1/echo', { size: 5, text: 'ü' }), { size: 5, text: 'ü' });
    assert.deepEqual(await askAppliance(path, 'POST', '/v1/echo'), {});
  });

  test('of a resize waits for as long as it takes, whatever the agent that all share would wait', async (t) => {
    const { options } = globalAgent as unknown as { readonly options: AgentOptions };
    const { timeout = 0 } = options;
    options.timeout = 20;
    t.after(() => {
      options.timeout = timeout;
    });
    const { path } = await serve(t, {
      'POST /v1/resize': async () => {
        await pause(200);
        return { done: true };
      },
    });
    assert.deepEqual(await askAppliance(path, 'POST', '/v1/resize'), { done: true });
  });

  test('many at once get each their own answer', async (t) => {
    const { path } = await serve(t, echo);
    const asked = Array.from({ length: 40 }, (_, number) => askAppliance(path, 'POST', '/v1/echo', { number }));
    assert.deepEqual(
      await Promise.all(asked),
      asked.map((_, number) => ({ number })),
    );
  });

  for (const code of Object.keys(HTTP_STATUS) as ErrorCode[]) {
    test(`gets ${code} back as it was thrown, with status ${HTTP_STATUS[code]}`, async (t) => {
      const { path, log } = await serve(t, {
        'GET /': async () => {
          throw new StorageError(code, 'what happened', { cause: new Error('and why') });
        },
      });
      await assert.rejects(askAppliance(path, 'GET', '/'), { code, message: 'what happened: and why' });
      const answer = await sendRaw(path, 'GET / HTTP/1.1\r\nHost: x\r\n\r\n');
      assert.match(answer, new RegExp(`^HTTP/1.1 ${HTTP_STATUS[code]} `));
      assert.deepEqual(log.messages('error'), []);
    });
  }

  test('a handler that fails unexpectedly is an error in the log and not the end', async (t) => {
    const { path, log } = await serve(t, {
      ...echo,
      'GET /bug': async () => {
        throw new TypeError('oops');
      },
    });
    await assert.rejects(askAppliance(path, 'GET', '/bug'), { code: 'UNAVAILABLE', message: 'oops' });
    assert.equal(log.messages('error').length, 1);
    assert.deepEqual(await askAppliance(path, 'GET', '/v1/status'), { fine: true });
  });

  test('where nobody listens is null: no directory, no socket, a dead one, no directory but a file', async (t) => {
    const dir = await tempDir(t, 'control');
    await writeFile(join(dir, 'file'), '');
    const dead = createSocketServer();
    dead.listen(join(dir, 'dead.sock'));
    await once(dead, 'listening');
    const left = join(dir, 'left.sock');
    // Bound and never unlinked, as a killed process leaves it.
    await link(join(dir, 'dead.sock'), left);
    dead.close();
    for (const path of ['none/control.sock', 'control.sock', 'left.sock', 'file/control.sock']) {
      assert.equal(await askAppliance(join(dir, path), 'GET', '/v1/status'), null, path);
    }
  });

  test('at a path that no socket can have is null, as nothing can listen there', async (t) => {
    const dir = await tempDir(t, 'control');
    assert.equal(await askAppliance(join(dir, 'x'.repeat(120), 'control.sock'), 'GET', '/v1/status'), null);
  });

  test('can be given up, before the answer and in the middle of it', async (t) => {
    const dir = await tempDir(t, 'control');
    const path = join(dir, 'slow.sock');
    const server = createServer((incoming, response) => {
      if (incoming.url === '/half') response.write('{"half":');
    });
    server.listen(path);
    await once(server, 'listening');
    t.after(() => {
      server.closeAllConnections();
      server.close();
    });
    for (const url of ['/never', '/half']) {
      const giveUp = new AbortController();
      server.once('request', () => {
        setImmediate(() => giveUp.abort());
      });
      await assert.rejects(askAppliance(path, 'GET', url, undefined, giveUp.signal), { code: 'CANCELLED' });
    }
  });

  test('an answer that is cut short, or is none, is UNAVAILABLE', async (t) => {
    const dir = await tempDir(t, 'control');
    const path = join(dir, 'broken.sock');
    const answers = ['HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n{"half":', 'HTTP/1.1 200 OK\r\n\r\nnot JSON', ''];
    const server = createSocketServer((socket) => {
      socket.on('error', () => {});
      socket.once('data', () => void socket.end(answers.shift() ?? ''));
    });
    server.listen(path);
    await once(server, 'listening');
    t.after(() => void server.close());
    for (let at = 0; at < 3; at++) await assert.rejects(askAppliance(path, 'GET', '/'), { code: 'UNAVAILABLE' });
  });
});

describe('the server', () => {
  test('tells a handler that whoever asked has hung up, and only then', async (t) => {
    const signals: AbortSignal[] = [];
    const waiting = Promise.withResolvers<void>();
    const { path, log } = await serve(t, {
      ...echo,
      'POST /v1/fast': async (_body, gone) => {
        signals.push(gone);
        return {};
      },
      'POST /v1/slow': async (_body, gone) => {
        signals.push(gone);
        waiting.resolve();
        await once(gone, 'abort');
        throw new StorageError('CANCELLED', 'given up');
      },
    });
    await askAppliance(path, 'POST', '/v1/fast', {});
    const giveUp = new AbortController();
    const asked = assert.rejects(askAppliance(path, 'POST', '/v1/slow', {}, giveUp.signal), { code: 'CANCELLED' });
    await waiting.promise;
    assert.deepEqual(
      signals.map(({ aborted }) => aborted),
      [false, false],
    );
    giveUp.abort();
    await asked;
    const [fast, slow] = signals;
    if (slow?.aborted === false) await once(slow, 'abort');
    assert.equal(fast?.aborted, false);
    assert.deepEqual(await askAppliance(path, 'GET', '/v1/status'), { fine: true });
    assert.deepEqual(log.messages('error'), []);
  });

  test('refuses what it does not know with 404, also names that every object has', async (t) => {
    const { path } = await serve(t, echo);
    for (const [method, url] of [
      ['GET', '/'],
      ['POST', '/v1/status'],
      ['GET', '/v1/status?x=1'],
      ['GET', '/v1/status/'],
      ['DELETE', '/v1/echo'],
      ['constructor', ''],
    ] as const) {
      const answer = await sendRaw(path, `${method} ${url || '/'} HTTP/1.1\r\nHost: x\r\n\r\n`);
      assert.match(answer, method === 'constructor' ? /^HTTP\/1.1 400 / : /^HTTP\/1.1 404 .*NOT_FOUND/s, url);
    }
  });

  test('refuses a body that is no JSON object with 400', async (t) => {
    const { path } = await serve(t, echo);
    for (const body of ['{', 'null', '[]', '"text"', '7', '\0', '{"a":1}{"b":2}']) {
      const answer = await sendRaw(
        path,
        `POST /v1/echo HTTP/1.1\r\nHost: x\r\nContent-Length: ${body.length}\r\n\r\n${body}`,
      );
      assert.match(answer, /^HTTP\/1.1 400 .*"code":"INVALID"/s, body);
    }
  });

  test('refuses a body over 64 KiB with an answer, and does not keep it', async (t) => {
    const { path } = await serve(t, echo);
    const fits = { text: 'x'.repeat(60 * 1024) };
    assert.deepEqual(await askAppliance(path, 'POST', '/v1/echo', fits), fits);
    await assert.rejects(askAppliance(path, 'POST', '/v1/echo', { text: 'x'.repeat(8 * 1024 * 1024) }), {
      code: 'INVALID',
      message: /too large/,
    });
    assert.deepEqual(await askAppliance(path, 'GET', '/v1/status'), { fine: true });
  });

  test('survives what is not HTTP, and clients that go away in the middle', async (t) => {
    const { path, log } = await serve(t, echo);
    assert.match(await sendRaw(path, 'NBDMAGIC\r\n\r\n'), /^HTTP\/1.1 400 /);
    for (const start of [
      '',
      'POST /v1/e',
      'POST /v1/echo HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{"half":',
    ]) {
      const socket = connect(path);
      await once(socket, 'connect');
      socket.write(start);
      await turn();
      socket.destroy();
      await once(socket, 'close');
    }
    assert.deepEqual(await askAppliance(path, 'GET', '/v1/status'), { fine: true });
    assert.deepEqual(log.messages('error'), []);
  });

  test('may be opened by its owner alone', async (t) => {
    const { path } = await serve(t, echo);
    assert.equal((await stat(path)).mode & 0o777, 0o600);
  });

  test('takes the place of a socket that a dead process left, and removes its own', async (t) => {
    const dir = await tempDir(t, 'control');
    const path = join(dir, 'control.sock');
    await writeFile(path, 'left over');
    const server = new ControlServer(path, echo, new LogBook());
    await server.listen();
    assert.deepEqual(await askAppliance(path, 'GET', '/v1/status'), { fine: true });
    await server.close();
    await assert.rejects(stat(path), { code: 'ENOENT' });
    await server.close();
  });

  test('says what is wrong with its path', async (t) => {
    const dir = await tempDir(t, 'control');
    const long = new ControlServer(join(dir, 'x'.repeat(108)), echo, new LogBook());
    await assert.rejects(long.listen(), {
      code: 'INVALID',
      message: /longer than 107 bytes: choose a shorter cache.dir/,
    });
    await mkdir(join(dir, 'directory'));
    for (const path of ['directory', 'none/control.sock']) {
      const server = new ControlServer(join(dir, path), echo, new LogBook());
      await assert.rejects(server.listen(), { code: 'UNAVAILABLE', message: /cannot listen on/ });
      await server.close();
    }
  });

  test('closes after the answers under way, whole, however large', async (t) => {
    const gate = Promise.withResolvers<void>();
    const asked = Promise.withResolvers<void>();
    const large = 'x'.repeat(4 * 1024 * 1024);
    const { path, server } = await serve(t, {
      'GET /slow': async () => {
        asked.resolve();
        await gate.promise;
        return { large };
      },
    });
    const asking = askAppliance(path, 'GET', '/slow');
    await asked.promise;
    const closing = server.close();
    gate.resolve();
    assert.deepEqual(await asking, { large });
    await closing;
  });

  test('closes although somebody does not take the answer, or a handler has none', async (t) => {
    const asked = Promise.withResolvers<void>();
    const { path, server } = await serve(t, {
      'GET /large': async () => ({ large: 'x'.repeat(4 * 1024 * 1024) }),
      'GET /never': () => {
        asked.resolve();
        return new Promise(() => {});
      },
    });
    const taking = connect(path);
    taking.write('GET /large HTTP/1.1\r\nHost: x\r\n\r\n');
    await once(taking, 'readable');
    const waiting = assert.rejects(askAppliance(path, 'GET', '/never'), { code: 'UNAVAILABLE' });
    await asked.promise;
    await server.close(50);
    await waiting;
    taking.destroy();
  });

  test('closes although clients are connected that ask nothing, or not all of it', async (t) => {
    const { path, server } = await serve(t, echo);
    const sockets = [connect(path), connect(path)];
    await Promise.all(sockets.map((socket) => once(socket, 'connect')));
    sockets[1]?.write('POST /v1/echo HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{');
    // Answered on another connection: by then the server has seen both.
    const probe = request({ socketPath: path, path: '/v1/status' });
    probe.end();
    const [response] = await once(probe, 'response');
    response.resume();
    const closed = sockets.map((socket) => {
      socket.on('error', () => {});
      return once(socket, 'close');
    });
    await server.close();
    await Promise.all(closed);
  });
});
