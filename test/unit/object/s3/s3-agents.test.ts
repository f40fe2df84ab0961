/** Connections that receive into one memory: every body is whole, whenever it is looked at. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { type Agent, createServer, get as httpGet, type IncomingMessage, type RequestListener } from 'node:http';
import { createServer as createHttpsServer, get as httpsGet } from 'node:https';
import { type AddressInfo, createServer as createTcpServer, type Server } from 'node:net';
import { Readable } from 'node:stream';
import { type TestContext, test } from 'node:test';
import { StorageError } from '../../../../src/lib/errors.ts';
import { checkKept, createHttpAgent, createHttpsAgent } from '../../../../src/object/s3/s3-agents.ts';
import { receive } from '../../../../src/object/s3/s3-body.ts';
import { makeCertificate } from '../../../support/certificates.ts';
import { requireTools } from '../../../support/tools.ts';

const BODY_BYTES = 3 * 1024 * 1024 + 77;
const CONNECTIONS = 6;

interface Peer {
  /** The body of `/n` is all n. */
  get(path: string): Promise<IncomingMessage>;
}

const answer: RequestListener = ({ url }, response) => {
  const body = Buffer.alloc(BODY_BYTES, Number(url?.slice(1)));
  response.setHeader('content-length', body.length);
  response.end(body);
};

async function listen(t: TestContext, server: Server): Promise<number> {
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.after(() => void server.close());
  return (server.address() as AddressInfo).port;
}

/** A new agent over `scheme`; the agent ends with the test. */
async function connectTo(t: TestContext, scheme: 'http' | 'https'): Promise<Peer> {
  if (scheme === 'http') return peerOf(t, createHttpAgent({ keepAlive: true }), await listen(t, createServer(answer)));
  const { key, cert } = await makeCertificate(t);
  const port = await listen(t, createHttpsServer({ key, cert }, answer));
  return peerOf(t, createHttpsAgent({ keepAlive: true, ca: cert }), port, httpsGet);
}

function peerOf(t: TestContext, agent: Agent, port: number, get: typeof httpGet = httpGet): Peer {
  t.after(() => agent.destroy());
  return {
    get: (path) =>
      new Promise((resolve, reject) => {
        get({ host: '127.0.0.1', port, path, agent }, resolve).on('error', reject);
      }),
  };
}

async function chunksOf(response: IncomingMessage, pause?: () => Promise<unknown>): Promise<Buffer[]> {
  const chunks: Buffer[] = [];
  for await (const chunk of response as AsyncIterable<Buffer>) {
    chunks.push(checkKept(chunk, 'reading'));
    await pause?.();
  }
  return chunks;
}

for (const scheme of ['http', 'https'] as const) {
  test(`${scheme}: what is kept of a body does not change when others are received`, async (t) => {
    if (scheme === 'https' && !requireTools(t, ['openssl'])) return;
    const peer = await connectTo(t, scheme);
    for (let round = 0; round < 2; round++) {
      const bodies = Array.from({ length: CONNECTIONS }, async (_, i) => chunksOf(await peer.get(`/${i + 1}`)));
      for (const [i, chunks] of (await Promise.all(bodies)).entries()) {
        assert.ok(Buffer.concat(chunks).equals(Buffer.alloc(BODY_BYTES, i + 1)));
      }
    }
  });

  test(`${scheme}: a body that is read slowly comes whole, beside others`, async (t) => {
    if (scheme === 'https' && !requireTools(t, ['openssl'])) return;
    const peer = await connectTo(t, scheme);
    const slow = chunksOf(await peer.get('/1'), () => new Promise((resolve) => setTimeout(resolve, 1)));
    for (let i = 2; i < 6; i++) {
      assert.ok(Buffer.concat(await chunksOf(await peer.get(`/${i}`))).equals(Buffer.alloc(BODY_BYTES, i)));
    }
    assert.ok(Buffer.concat(await slow).equals(Buffer.alloc(BODY_BYTES, 1)));
  });
}

test('what comes between two requests is not taken for the answer to the second', async (t) => {
  const text = (body: string): string => `HTTP/1.1 200 OK\r\ncontent-length: ${body.length}\r\n\r\n${body}`;
  const asked = Promise.withResolvers<void>();
  let requests = 0;
  const server = createTcpServer((socket) => {
    socket.on('data', () => {
      socket.write(text(requests === 0 ? 'first' : 'second'));
      if (requests++ === 0) void asked.promise.then(() => socket.write(text('wrong')));
    });
  });
  const peer = peerOf(t, createHttpAgent({ keepAlive: true, maxSockets: 1 }), await listen(t, server));
  assert.equal(Buffer.concat(await chunksOf(await peer.get('/'))).toString(), 'first');
  asked.resolve();
  await new Promise((resolve) => setTimeout(resolve, 50));
  assert.equal(Buffer.concat(await chunksOf(await peer.get('/'))).toString(), 'second');
});

test('a piece of the memory that connections receive into is refused', () => {
  const memory = Buffer.from(new SharedArrayBuffer(8));
  assert.throws(
    () => checkKept(memory.subarray(2, 4), 'reading the object k'),
    (error) => {
      assert.ok(error instanceof StorageError);
      assert.equal(error.code, 'UNSUPPORTED');
      assert.match(error.message, /^reading the object k failed: Node v\d+/);
      return true;
    },
  );
});

test('nor is a body of it asked for again and again: trying again does not help', async () => {
  const body = Readable.from([Buffer.from(new SharedArrayBuffer(4))]);
  const answered = { status: 200, contentLength: 4, contentRange: undefined, body };
  await assert.rejects(receive(answered, undefined, 'reading the object k'), (error) => {
    assert.ok(error instanceof StorageError);
    assert.deepEqual([error.code, error.retryable], ['UNSUPPORTED', false]);
    return true;
  });
});
