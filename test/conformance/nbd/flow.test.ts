/** Concurrency, and the bounds: what is answered when, and what a client can make the server hold. */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { describe, test } from 'node:test';
import { Command, NbdErrno } from '../../../src/nbd/constants.ts';
import type { NbdServer } from '../../../src/nbd/server.ts';
import { HeldMemoryDevice, LaterMemoryDevice, MemoryDevice } from './memory-device.ts';
import { type RawClient, requestBytes } from './raw-client.ts';
import { startServer } from './test-server.ts';

const KIB = 1024;
const MIB = 1024 * KIB;

/** Waits, turn by turn, until `condition` holds; the test's own time limit ends it where it never does. */
async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise((resolve) => setTimeout(resolve, 1));
}

/** Waits until the server has taken nothing from its clients for a good while. */
async function untilStill(server: NbdServer): Promise<void> {
  const received = (): number => server.connections().reduce((sum, { bytesReceived }) => sum + bytesReceived, 0);
  for (let still = 0, last = received(); still < 50; ) {
    await new Promise((resolve) => setTimeout(resolve, 1));
    still = received() === last ? still + 1 : 0;
    last = received();
  }
}

describe('concurrency', () => {
  test('replies come in the order the device completes', async (t) => {
    const device = new HeldMemoryDevice(MIB);
    const client = await (await startServer(t, device)).attach();
    device.bytes.set(randomBytes(MIB));
    const offsets = [0, 64 * KIB, 128 * KIB, 192 * KIB];
    for (const offset of offsets) client.send({ type: Command.READ, cookie: BigInt(offset), offset, length: 50_000 });
    await device.whenHeld(4);
    for (const offset of [128 * KIB, 0, 192 * KIB, 64 * KIB]) {
      device.release(offset);
      const reply = await client.reply();
      assert.equal(reply.cookie, BigInt(offset));
      assert.ok(reply.data.equals(device.bytes.subarray(offset, offset + 50_000)));
    }
  });

  test('of many requests that come at once the first are answered while the last are still looked at', async (t) => {
    const device = new MemoryDevice(MIB);
    device.bytes.fill(1);
    const { attach, server } = await startServer(t, device);
    const client = await attach();
    const sentAtRead: number[] = [];
    const read = device.read.bind(device);
    device.read = (offset, length) => {
      sentAtRead.push(server.connections()[0]?.bytesSent ?? 0);
      return read(offset, length);
    };
    const one = requestBytes({ type: Command.READ, length: 4096 });
    client.write(Buffer.alloc(one.length * 64, one));
    for (let i = 0; i < 64; i++) assert.equal((await client.reply()).data.length, 4096);
    const [first = 0] = sentAtRead;
    assert.ok((sentAtRead.at(-1) ?? 0) - first >= 100_000, 'nothing had been sent when the last one was read');
  });

  test('a request that the device holds delays no other', async (t) => {
    const device = new HeldMemoryDevice(MIB);
    const client = await (await startServer(t, device)).attach();
    client.send({ type: Command.FLUSH, cookie: 1n });
    await device.whenHeld(1);
    assert.equal((await client.request({ type: Command.TRIM, cookie: 2n, length: 4096 })).errno, 0);
    device.release(0);
    assert.equal((await client.reply()).cookie, 1n);
  });

  test('requests reach the device in the order they came, across a wait for room', async (t) => {
    const device = new LaterMemoryDevice(MIB);
    const client = await (await startServer(t, device, { inFlightBytesPerConnectionMax: 10_000 })).attach();
    const payloads = Array.from({ length: 50 }, (_, i) => Buffer.alloc(4096, i + 1));
    for (const payload of payloads) client.send({ type: Command.WRITE, payload });
    for (const _ of payloads) assert.equal((await client.reply()).errno, 0);
    assert.ok(device.bytes.subarray(0, 4096).equals(Buffer.alloc(4096, 50)));
  });

  test('a flush on one connection follows what another was answered', async (t) => {
    const device = new LaterMemoryDevice(MIB);
    const { attach } = await startServer(t, device);
    const [writer, flusher] = [await attach(), await attach()];
    await writer.request({ type: Command.WRITE, payload: Buffer.alloc(4096, 1) });
    await flusher.request({ type: Command.FLUSH });
    assert.deepEqual(device.calls, ['write 0 4096', 'flush']);
    const read = await flusher.request({ type: Command.READ, length: 4096 });
    assert.ok(read.data.equals(Buffer.alloc(4096, 1)));
  });

  test('many connections at once, each with its own data', async (t) => {
    const device = new LaterMemoryDevice(32 * MIB);
    const { attach, server } = await startServer(t, device, { inFlightBytesMax: MIB });
    const work = async (client: RawClient, base: number): Promise<void> => {
      for (let i = 0; i < 8; i++) {
        const payload = randomBytes(100_000);
        await client.request({ type: Command.WRITE, offset: base, payload });
        const read = await client.request({ type: Command.READ, offset: base, length: payload.length });
        assert.ok(read.data.equals(payload));
      }
    };
    const clients = await Promise.all(Array.from({ length: 50 }, () => attach()));
    await Promise.all(clients.map((client, i) => work(client, i * 500_000)));
    assert.equal(server.connections().length, 50);
    await until(() => server.bytesInFlight === 0);
  });
});

describe('bounds', () => {
  test('a client that does not read its replies is not read from', async (t) => {
    const device = new MemoryDevice(MIB);
    device.bytes.set(randomBytes(MIB));
    const unsentBytesMax = 256 * KIB;
    const { attach, server } = await startServer(t, device, { unsentBytesMax });
    const client = await attach();
    const count = 20_000;
    const requests = Buffer.concat(
      Array.from({ length: count }, (_, i) =>
        requestBytes({ type: Command.READ, cookie: BigInt(i), offset: 0, length: 4096 }),
      ),
    );
    client.write(requests);
    await untilStill(server);
    const [status] = server.connections();
    assert.ok(status !== undefined && status.requests < count, 'requests are still waiting');
    assert.ok(status.bytesUnsent > unsentBytesMax, 'it stopped for the output');
    assert.ok(status.bytesUnsent <= unsentBytesMax + 8 * KIB, `${status.bytesUnsent} bytes unsent`);
    for (let i = 0; i < count; i++) {
      const reply = await client.reply();
      assert.equal(reply.cookie, BigInt(i));
      assert.equal(reply.data.length, 4096);
    }
    await until(() => server.bytesInFlight === 0);
    assert.equal(server.connections()[0]?.bytesUnsent, 0);
  });

  test('answers without data are bounded too', async (t) => {
    const unsentBytesMax = 64 * KIB;
    const { attach, server } = await startServer(t, new MemoryDevice(MIB), { unsentBytesMax });
    const client = await attach();
    const count = 250_000;
    const one = requestBytes({ type: 99 });
    client.write(Buffer.alloc(one.length * count, one));
    await untilStill(server);
    const unsent = server.connections()[0]?.bytesUnsent ?? 0;
    assert.ok(unsent > unsentBytesMax && unsent < unsentBytesMax + KIB, `${unsent} bytes unsent`);
    const first = await client.reply();
    assert.equal(first.errno, NbdErrno.EINVAL);
    const replyBytes = 26 + first.text.length;
    for (let left = (count - 1) * replyBytes; left > 0; ) {
      const bytes = await client.read(Math.min(left, MIB));
      left -= bytes.length;
    }
    assert.equal((await client.request({ type: Command.FLUSH, cookie: 9n })).errno, 0);
  });

  test("a connection's reads in flight stay within its bytes", async (t) => {
    const device = new HeldMemoryDevice(64 * MIB);
    const { attach, server } = await startServer(t, device, { inFlightBytesPerConnectionMax: 4 * MIB });
    const client = await attach();
    for (let i = 0; i < 20; i++) client.send({ type: Command.READ, offset: i * MIB, length: MIB });
    await device.whenHeld(4);
    await untilStill(server);
    assert.equal(device.held.length, 4);
    assert.equal(server.connections()[0]?.bytesInFlight, 4 * MIB);
    for (let i = 0; i < 20; i++) {
      await device.whenHeld(1);
      device.release(i * MIB);
      assert.equal((await client.reply()).errno, 0);
    }
    await until(() => server.bytesInFlight === 0);
  });

  test('questions about allocation in flight are bounded by what their answers take', async (t) => {
    const device = new MemoryDevice(256 * MIB);
    const asked: { countMax: number; answer: () => void }[] = [];
    Object.assign(device, {
      extents: (_offset: number, length: number, countMax: number) =>
        new Promise((resolve) => {
          asked.push({ countMax, answer: () => resolve([{ length, hole: true, zero: true, state: 'absent' }]) });
        }),
    });
    // A lone client gets half of it.
    const { attach, server } = await startServer(t, device, { inFlightBytesMax: 16 * MIB });
    const client = await attach({ contexts: ['base:allocation'] });
    for (let i = 0; i < 20; i++) client.send({ type: Command.BLOCK_STATUS, length: 256 * MIB });
    await until(() => asked.length === 2);
    await untilStill(server);
    assert.equal(asked.length, 2);
    for (let i = 0; i < 20; i++) {
      await until(() => asked.length > i);
      assert.equal(asked[i]?.countMax, 32_768, 'nor is the device asked for a longer list than is answered');
      asked[i]?.answer();
      assert.equal((await client.reply()).errno, 0);
    }
    await until(() => server.bytesInFlight === 0);
  });

  test('payloads of writes are taken only as there is room for them, over all connections', async (t) => {
    const device = new HeldMemoryDevice(64 * MIB);
    const { attach, server } = await startServer(t, device, { inFlightBytesMax: 3 * MIB });
    const clients = [await attach(), await attach(), await attach()];
    clients.forEach((client, c) => {
      for (let i = 0; i < 4; i++) {
        client.send({ type: Command.WRITE, offset: (c * 4 + i) * MIB, payload: Buffer.alloc(MIB, c * 4 + i + 1) });
      }
    });
    for (let done = 0; done < 12; done++) {
      await device.whenHeld(Math.min(3, 12 - done));
      assert.ok(server.bytesInFlight <= 3 * MIB, `${server.bytesInFlight} bytes in flight`);
      device.release(device.held[0]?.offset ?? -1);
    }
    for (const client of clients) for (let i = 0; i < 4; i++) assert.equal((await client.reply()).errno, 0);
    for (let i = 0; i < 12; i++) assert.equal(device.bytes[i * MIB], i + 1);
    assert.equal(server.bytesInFlight, 0);
  });

  test('a request larger than every limit goes when it is alone, and is not starved by small ones', async (t) => {
    const device = new LaterMemoryDevice(64 * MIB);
    const { attach, server } = await startServer(t, device, {
      inFlightBytesMax: 64 * KIB,
      inFlightBytesPerConnectionMax: 32 * KIB,
    });
    const [large, small] = [await attach(), await attach()];
    let stop = false;
    const smallWork = (async () => {
      while (!stop) await small.request({ type: Command.WRITE, offset: 40 * MIB, payload: Buffer.alloc(40_000, 2) });
    })();
    const payload = randomBytes(32 * MIB);
    assert.equal((await large.request({ type: Command.WRITE, payload })).errno, 0);
    assert.ok((await large.request({ type: Command.READ, length: payload.length })).data.equals(payload));
    stop = true;
    await smallWork;
    await until(() => server.bytesInFlight === 0);
  });

  test('requests the device has not answered are counted, and bounded', async (t) => {
    const device = new HeldMemoryDevice(MIB);
    const { attach, server } = await startServer(t, device, { inFlightRequestsMax: 10 });
    const client = await attach();
    for (let i = 0; i < 50; i++) client.send({ type: Command.READ, offset: i * 512, length: 512 });
    await device.whenHeld(10);
    await untilStill(server);
    assert.equal(device.held.length, 10);
    for (let i = 0; i < 50; i++) {
      await device.whenHeld(1);
      device.release(i * 512);
      await client.reply();
    }
  });

  test('a client that goes leaves nothing behind: its reads are given up, its bytes given back', async (t) => {
    const device = new HeldMemoryDevice(64 * MIB);
    const { attach, server } = await startServer(t, device, { inFlightBytesMax: 8 * MIB });
    const client = await attach();
    client.send({ type: Command.READ, offset: 0, length: MIB });
    client.send({ type: Command.WRITE, offset: MIB, payload: Buffer.alloc(MIB, 1) });
    // Half a payload, and behind it nothing.
    client.write(requestBytes({ type: Command.WRITE, length: MIB }));
    client.write(Buffer.alloc(MIB / 2));
    await device.whenHeld(2);
    await until(() => server.bytesInFlight === 3 * MIB);
    client.socket.resetAndDestroy();
    await until(() => server.connections().length === 0);
    assert.equal(device.held[0]?.signal?.aborted, true);
    device.release(MIB);
    await until(() => server.bytesInFlight === 0);
    assert.equal(device.bytes[MIB], 1);
    assert.deepEqual(device.calls, [`write ${MIB} ${MIB}`], 'the half payload was not written');
  });

  test('a prefetch is given up where its client goes, and where the server is closed', async (t) => {
    const device = new HeldMemoryDevice(64 * MIB);
    const { attach, server } = await startServer(t, device);
    const [going, staying] = [await attach(), await attach()];
    for (const client of [going, staying]) client.send({ type: Command.CACHE, offset: 0, length: 64 * MIB });
    await device.whenHeld(2);
    going.socket.resetAndDestroy();
    await until(() => server.connections().length === 1);
    assert.equal(device.held.filter(({ signal }) => signal?.aborted).length, 1);
    const closed = server.close({ deadlineMs: 60_000 });
    assert.equal((await staying.reply()).errno, 0);
    await closed;
  });

  test('a client that goes while it waits for room makes room for the next', async (t) => {
    const device = new HeldMemoryDevice(64 * MIB);
    const { attach, server } = await startServer(t, device, { inFlightBytesMax: MIB });
    const [holder, waiter, next] = [await attach(), await attach(), await attach()];
    holder.send({ type: Command.WRITE, offset: 0, payload: Buffer.alloc(600 * KIB) });
    await device.whenHeld(1);
    waiter.send({ type: Command.READ, offset: MIB, length: 600 * KIB });
    await until(() => server.connections()[1]?.requests === 1);
    next.send({ type: Command.READ, offset: 2 * MIB, length: 100 * KIB });
    await until(() => server.connections()[2]?.requests === 1);
    assert.equal(device.held.length, 1, 'nobody overtakes');
    waiter.close();
    // A client that waits is not read from, so its going shows when the server is told, or when it comes to its turn.
    device.release(0);
    await device.whenHeld(1);
    await until(() => device.held.some(({ offset }) => offset === 2 * MIB));
    device.release(2 * MIB);
    assert.equal((await next.reply()).errno, 0);
  });

  test('clients that break off anywhere, under tight limits, leave nothing taken', async (t) => {
    const device = new LaterMemoryDevice(4 * MIB);
    device.recordCalls = false;
    device.bytes.fill(1);
    const { attach, server } = await startServer(t, device, {
      inFlightBytesMax: 300 * KIB,
      inFlightBytesPerConnectionMax: 200 * KIB,
      unsentBytesMax: 64 * KIB,
    });
    const lengths = [512, 4096, 70_000, 150_000, 400_000];
    const breakOff = async (seed: number): Promise<void> => {
      const client = await attach();
      const bytes = Buffer.concat(
        lengths.flatMap((length, i) => [
          requestBytes({ type: Command.READ, length: lengths[(i + seed) % lengths.length] ?? 512 }),
          requestBytes({ type: Command.WRITE, offset: i * 512, payload: Buffer.alloc(length, 1) }),
        ]),
      );
      client.write(bytes.subarray(0, (bytes.length * seed) / 40));
      for (let i = 0; i < seed % 7; i++) await new Promise((resolve) => setImmediate(resolve));
      if (seed % 3 === 0) client.close();
      else if (seed % 3 === 1) client.socket.resetAndDestroy();
      else client.socket.end(() => client.close());
    };
    await Promise.all(Array.from({ length: 40 }, (_, i) => breakOff(i)));
    await until(() => server.connections().length === 0 && server.bytesInFlight === 0);
    const survivor = await attach();
    assert.equal((await survivor.request({ type: Command.READ, length: 400_000 })).data.length, 400_000);
  });

  test('a half-closed client still gets its answers', async (t) => {
    const device = new HeldMemoryDevice(MIB);
    const client = await (await startServer(t, device)).attach();
    client.send({ type: Command.READ, offset: 512, length: 512 });
    await device.whenHeld(1);
    client.socket.end();
    await once(client.socket, 'finish');
    device.release(512);
    assert.equal((await client.reply()).data.length, 512);
    assert.equal((await client.untilClosed()).length, 0);
  });
});
