/** Server-sent events over real sockets: who may listen, what they get, and that nobody holds up the others. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { type TestContext, test } from 'node:test';
import { setImmediate as turn } from 'node:timers/promises';
import { EventHub, type EventLimits } from '../../../src/admin/event-hub.ts';
import { HttpServer } from '../../../src/admin/http-server.ts';
import { LogBook } from '../volume/fixtures.ts';

class Listener {
  readonly socket: Socket;
  text = '';

  constructor(port: number) {
    this.socket = connect(port, '127.0.0.1');
    this.socket.on('error', () => {});
    this.socket.on('data', (chunk) => {
      this.text += chunk;
    });
    this.socket.write('GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n');
  }

  async until(part: string): Promise<void> {
    while (!this.text.includes(part)) await turn();
  }
}

async function serve(t: TestContext, limits: Partial<EventLimits> = {}) {
  const log = new LogBook();
  const hub = new EventHub(log, limits);
  const routes = { '/events': { GET: () => hub.join('"first"') } };
  const server = new HttpServer({ routes, hosts: [], token: null, log, limits: { answerTimeoutMs: 50 } });
  await server.listen('127.0.0.1', 0);
  t.after(() => server.close());
  const port = server.address?.port ?? 0;
  return { hub, server, log, port, url: `http://127.0.0.1:${port}/events` };
}

test('whoever listens gets what there is, and then what comes, with the headers that every answer has', async (t) => {
  const { hub, port } = await serve(t);
  const listener = new Listener(port);
  await listener.until('data: "first"\n\n');
  assert.match(listener.text, /^HTTP\/1\.1 200 OK\r\n/);
  assert.match(listener.text, /content-type: text\/event-stream/);
  assert.match(listener.text, /cache-control: no-store/);
  assert.match(listener.text, /x-content-type-options: nosniff/);
  assert.doesNotMatch(listener.text, /access-control/i);
  hub.publish('"next"');
  await listener.until('data: "next"\n\n');
  listener.socket.destroy();
  while (hub.clients > 0) await turn();
});

test('one listener too many is told to come later, and there is room again once another has gone', async (t) => {
  const { hub, port, url } = await serve(t, { clientsMax: 2 });
  const listeners = [new Listener(port), new Listener(port)];
  await Promise.all(listeners.map((listener) => listener.until('first')));
  const refused = await fetch(url);
  assert.deepEqual([refused.status, refused.headers.get('retry-after')], [503, '10']);
  listeners[0]?.socket.destroy();
  while (hub.clients > 1) await turn();
  await new Listener(port).until('first');
});

test('something is sent even where nothing happens', async (t) => {
  const { port } = await serve(t, { heartbeatMs: 10 });
  await new Listener(port).until(':\n\n');
});

test('who does not take what is sent gets no more of it, is cut off in the end, and holds up nobody', async (t) => {
  const { hub, port, log } = await serve(t, { stuckMs: 0 });
  const slow = new Listener(port);
  await slow.until('first');
  slow.socket.pause();
  const quick = new Listener(port);
  await quick.until('first');
  const large = JSON.stringify('x'.repeat(1024 * 1024));
  for (let sent = 0; hub.clients > 1; sent++) {
    assert.ok(sent < 1000, 'it is cut off');
    quick.text = '';
    hub.publish(large);
    await quick.until('x\n\n'.replace('x', '"'));
  }
  assert.deepEqual(log.messages('debug'), ['a listener of the status page did not take its events']);
});

test('HEAD is no listener', async (t) => {
  const { hub, url } = await serve(t);
  const answer = await fetch(url, { method: 'HEAD' });
  assert.equal(answer.status, 200);
  assert.equal(hub.clients, 0);
});

test('closing cuts the listeners', async (t) => {
  const { server, port } = await serve(t);
  const listener = new Listener(port);
  await listener.until('first');
  const closed = once(listener.socket, 'close');
  await server.close();
  await closed;
});
