/** Both ways to read a socket deliver the same bytes, pause, and end. */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { test } from 'node:test';
import { readByEvents, readInto, type SocketReader } from '../../../src/nbd/socket-reader.ts';

for (const [name, read] of [
  ['into buffers of our own', readInto],
  ['by data events', readByEvents],
] as const) {
  test(`reading ${name}`, async (t) => {
    const sent = randomBytes(1_000_000);
    const received: Buffer[] = [];
    let sizes = 0;
    let paused = 0;
    let socket: Socket | undefined;
    const server = createServer({ allowHalfOpen: true, pauseOnConnect: true });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    t.after(() => server.close());
    const ended = new Promise<void>((resolve, reject) => {
      const reader: SocketReader = {
        nextBuffer: () => Buffer.alloc(1 + (sizes++ % 7) * 1000),
        received(buffer, length) {
          received.push(Buffer.from(buffer.subarray(0, length)));
          if (received.length % 5 !== 0) return true;
          paused++;
          const before = received.length;
          setTimeout(() => {
            if (received.length !== before) reject(new Error('it went on reading'));
            socket?.resume();
          }, 1);
          return false;
        },
      };
      server.once('connection', (accepted) => {
        socket = read(accepted, reader);
        socket.once('end', resolve);
        socket.resume();
      });
    });
    const client = connect((server.address() as AddressInfo).port, '127.0.0.1');
    client.end(sent);
    await ended;
    assert.ok(Buffer.concat(received).equals(sent));
    assert.ok(paused > 0);
    // The other direction is open still.
    socket?.end('bye');
    const [answer] = await once(client, 'data');
    assert.equal(String(answer), 'bye');
    await once(client, 'close');
    await new Promise<void>((resolve) => server.close(() => resolve()));
  });
}
