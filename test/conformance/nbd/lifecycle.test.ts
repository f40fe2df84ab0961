/** Connections from accept to close: limits, deadlines, unix sockets, shutdown. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { statSync } from 'node:fs';
import { mkdtemp, readdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, type TestContext, test } from 'node:test';
import { isStorageError } from '../../../src/lib/errors.ts';
import { silentLog } from '../../../src/lib/log.ts';
import { Command, NbdErrno, Option, OptionReply } from '../../../src/nbd/constants.ts';
import { listen } from '../../../src/nbd/listen.ts';
import { NbdServer } from '../../../src/nbd/server.ts';
import { tableOf } from './export-table.ts';
import { HeldMemoryDevice, MemoryDevice } from './memory-device.ts';
import { infoData, optionBytes, RawClient, type Request, requestBytes } from './raw-client.ts';
import { startServer } from './test-server.ts';

const MIB = 1024 * 1024;

async function temporaryDirectory(t: TestContext): Promise<string> {
  const dir = await mkdtemp(join(tmpdir(), 'nbd-'));
  t.after(() => rm(dir, { recursive: true, force: true }));
  return dir;
}

function serverOf(t: TestContext): NbdServer {
  const device = new MemoryDevice(MIB);
  const server = new NbdServer({ exports: tableOf({ name: 'disk', description: '', device }), log: silentLog });
  t.after(() => server.close({ deadlineMs: 0 }));
  return server;
}

describe('connections', () => {
  test('are told of, with what they did', async (t) => {
    const { attach, connect, server } = await startServer(t, new MemoryDevice(MIB));
    const client = await attach();
    const waiting = await connect();
    await waiting.greet();
    await client.request({ type: Command.WRITE, payload: Buffer.alloc(100_000, 1) });
    await client.request({ type: Command.READ, length: 100_000 });
    const [attached, handshaking] = server.connections();
    assert.match(attached?.peer ?? '', /^127\.0\.0\.1:\d+$/);
    assert.equal(attached?.export, 'disk');
    assert.equal(attached?.requests, 2);
    assert.equal(attached?.requestsInFlight, 0);
    assert.ok((attached?.bytesReceived ?? 0) > 100_056);
    assert.ok((attached?.bytesSent ?? 0) > 100_000);
    assert.equal(handshaking?.export, null);
    assert.ok((attached?.id ?? 0) !== (handshaking?.id ?? 0));
  });

  test('beyond the limit are closed without a greeting, and there is room again once one has gone', async (t) => {
    const { attach, connect, server } = await startServer(t, new MemoryDevice(MIB), { connectionsMax: 2 });
    const clients = [await attach(), await attach()];
    const refused = await connect();
    assert.equal((await refused.untilClosed()).length, 0);
    assert.equal((await clients[0]?.request({ type: Command.READ, length: 16 }))?.errno, 0);
    clients[1]?.send({ type: Command.DISC });
    await clients[1]?.untilClosed();
    while (server.connections().length > 1) await new Promise((resolve) => setTimeout(resolve, 1));
    await attach();
  });

  test('that do not choose an export in time are closed', async (t) => {
    const { attach, connect } = await startServer(t, new MemoryDevice(MIB), { handshakeTimeoutMs: 100 });
    const attached = await attach();
    const silent = await connect();
    const chatty = await connect();
    await chatty.greet();
    await silent.untilClosed();
    await chatty.untilClosed();
    assert.equal((await attached.request({ type: Command.READ, length: 16 })).errno, 0);
  });

  test('are asked for a sign of life only as the system is set up to, so that idle ones survive an outage', async (t) => {
    const setting = await readFile('/proc/sys/net/ipv4/tcp_keepalive_time', 'utf8').catch(() => '');
    if (setting === '') return t.skip('needs /proc');
    const { attach, address } = await startServer(t, new MemoryDevice(MIB));
    const client = await attach();
    const end = (port = 0): string => `0100007F:${port.toString(16).toUpperCase().padStart(4, '0')}`;
    const serverSide = `${end('port' in address ? address.port : 0)} ${end(client.socket.localPort)}`;
    for (;;) {
      const line = (await readFile('/proc/net/tcp', 'utf8')).split('\n').find((text) => text.includes(serverSide));
      // The sixth column is the timer under way, and when it goes off in hundredths of a second.
      const [timer, when = ''] = line?.trim().split(/\s+/)[5]?.split(':') ?? [];
      assert.ok(timer !== undefined && timer !== '00', 'there is no timer');
      if (timer === '02') {
        const minutes = Number.parseInt(when, 16) / 100 / 60;
        assert.equal(Math.round(minutes), Math.round(Number(setting) / 60));
        break;
      }
      // Our last bytes have not been acknowledged yet.
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
  });

  test('that only drip a payload are closed too: it takes memory that others wait for', async (t) => {
    const { attach, server } = await startServer(t, new MemoryDevice(64 * MIB), { stallTimeoutMs: 50 });
    const client = await attach();
    client.write(requestBytes({ type: Command.WRITE, length: 32 * MIB }));
    const drip = setInterval(() => client.write(Buffer.alloc(8192)), 5);
    t.after(() => clearInterval(drip));
    await client.untilClosed();
    while (server.bytesInFlight > 0) await new Promise((resolve) => setTimeout(resolve, 1));
  });

  test('that leave a payload unfinished, or replies unread, are closed; idle ones are not', async (t) => {
    const device = new MemoryDevice(64 * MIB);
    device.bytes.fill(1);
    const { attach, server } = await startServer(t, device, { stallTimeoutMs: 100 });
    const idle = await attach();
    const unfinished = await attach();
    unfinished.write(requestBytes({ type: Command.WRITE, length: 32 * MIB }));
    unfinished.write(Buffer.alloc(1000));
    const unread = await attach();
    for (let i = 0; i < 8; i++) unread.send({ type: Command.READ, offset: i * 8 * MIB, length: 8 * MIB });
    await unfinished.untilClosed();
    while (server.connections().length > 1) await new Promise((resolve) => setTimeout(resolve, 5));
    assert.equal(server.bytesInFlight, 0);
    assert.equal((await idle.request({ type: Command.READ, length: 16 })).errno, 0);
  });

  test('survive a device that returns what it should not, with nothing left taken', async (t) => {
    const device = new MemoryDevice(MIB);
    const { attach, server } = await startServer(t, device);
    const client = await attach();
    const requests: Request[] = [
      { type: Command.READ, length: 512 },
      { type: Command.READ, length: 100_000 },
      { type: Command.WRITE, payload: Buffer.alloc(100_000, 1) },
      { type: Command.FLUSH },
    ];
    for (const wrong of [undefined, null, 7, {}, Promise.resolve()]) {
      Object.assign(device, { read: () => wrong, write: () => wrong, flush: () => wrong });
      for (const request of requests) {
        const reply = await client.request(request);
        assert.equal(reply.errno, request.type === Command.READ ? NbdErrno.EIO : 0);
      }
    }
    while (server.bytesInFlight > 0) await new Promise((resolve) => setTimeout(resolve, 1));
  });

  test('of one client are lost where the export table misbehaves, and no others', async (t) => {
    const device = new MemoryDevice(MIB);
    const { attach, connect } = await startServer(t, device);
    const bystander = await attach();
    Object.defineProperty(device, 'geometry', { get: () => assert.fail('no geometry') });
    const second = await connect();
    await second.greet();
    second.write(optionBytes(Option.GO, infoData('disk')));
    assert.equal((await second.untilClosed()).length, 0);
    assert.equal((await bystander.request({ type: Command.READ, length: 512 })).errno, 0);
  });

  test('keep the size they saw when they attached', async (t) => {
    const device = new MemoryDevice(2 * MIB);
    const geometry = { ...device.geometry, sizeBytes: MIB };
    const grown = new Proxy(device, {
      get: (target, key) => {
        const value: unknown = key === 'geometry' ? geometry : Reflect.get(target, key, target);
        return typeof value === 'function' ? value.bind(target) : value;
      },
    });
    const { attach } = await startServer(t, grown);
    const old = await attach();
    geometry.sizeBytes = 2 * MIB;
    const fresh = await attach();
    const past = { type: Command.READ, offset: MIB, length: 16 };
    assert.equal((await old.request(past)).errno, NbdErrno.EINVAL);
    assert.equal((await fresh.request(past)).errno, 0);
  });
});

describe('unix sockets', () => {
  test('serve, with the mode asked for, and are gone after the close', async (t) => {
    const path = join(await temporaryDirectory(t), 'nbd.sock');
    const server = serverOf(t);
    assert.deepEqual(await server.listen({ path, mode: 0o660 }), { path });
    assert.equal((await stat(path)).mode & 0o777, 0o660);
    const client = await RawClient.attach({ path });
    assert.equal((await client.request({ type: Command.READ, length: 16 })).errno, 0);
    assert.equal(server.connections()[0]?.peer, `unix:${path}`);
    client.close();
    await server.close({ deadlineMs: 1000 });
    await assert.rejects(stat(path), { code: 'ENOENT' });
  });

  test('are private where no mode is given', async (t) => {
    const path = join(await temporaryDirectory(t), 'nbd.sock');
    await serverOf(t).listen({ path });
    assert.equal((await stat(path)).mode & 0o777, 0o600);
  });

  test('are private from the moment they exist, whatever the umask', async (t) => {
    const path = join(await temporaryDirectory(t), 'nbd.sock');
    const listener = createServer();
    t.after(() => listener.close());
    const bind = listener.listen.bind(listener) as (...args: unknown[]) => unknown;
    let modeAtFirst = 0;
    Object.assign(listener, {
      listen: (...args: unknown[]) => {
        bind(...args);
        modeAtFirst = statSync(path).mode & 0o777;
      },
    });
    const before = process.umask(0);
    t.after(() => process.umask(before));
    await listen(listener, { path, mode: 0o666 });
    assert.equal(modeAtFirst, 0o700);
    assert.equal((await stat(path)).mode & 0o777, 0o666);
    assert.equal(process.umask(), 0);
  });

  test('left behind are taken over by one of those who try at the same time', async (t) => {
    const dir = await temporaryDirectory(t);
    const path = join(dir, 'nbd.sock');
    for (let round = 0; round < 20; round++) {
      const dead = createServer().listen(path);
      await once(dead, 'listening');
      await rename(path, `${path}.kept`);
      dead.close();
      await once(dead, 'close');
      await rename(`${path}.kept`, path);
      const rivals = [serverOf(t), serverOf(t), serverOf(t)];
      const results = await Promise.allSettled(rivals.map((server) => server.listen({ path })));
      for (const result of results) {
        if (result.status === 'rejected') assert.ok(isStorageError(result.reason, 'HELD'), String(result.reason));
      }
      const winner = rivals[results.findIndex(({ status }) => status === 'fulfilled')];
      assert.equal(results.filter(({ status }) => status === 'fulfilled').length, 1);
      (await RawClient.attach({ path })).close();
      await winner?.close({ deadlineMs: 1000 });
      assert.deepEqual(await readdir(dir), []);
    }
  });

  test('left behind by a dead process are taken over', async (t) => {
    const path = join(await temporaryDirectory(t), 'nbd.sock');
    const script = `require('net').createServer().listen(${JSON.stringify(path)}, () => process.stdout.write('up'))`;
    const child = spawn(process.execPath, ['-e', script]);
    await once(child.stdout, 'data');
    child.kill('SIGKILL');
    await once(child, 'exit');
    assert.ok((await stat(path)).isSocket());
    await serverOf(t).listen({ path });
    const client = await RawClient.attach({ path });
    assert.equal((await client.request({ type: Command.READ, length: 16 })).errno, 0);
    client.close();
  });

  test('of a living process are left alone', async (t) => {
    const path = join(await temporaryDirectory(t), 'nbd.sock');
    const living = createServer().listen(path);
    await once(living, 'listening');
    t.after(() => living.close());
    await assert.rejects(serverOf(t).listen({ path }), (error) => isStorageError(error, 'HELD'));
    assert.ok((await stat(path)).isSocket());
  });

  test('do not replace a file', async (t) => {
    const path = join(await temporaryDirectory(t), 'precious');
    await writeFile(path, 'data');
    await assert.rejects(serverOf(t).listen({ path }), {
      code: 'INVALID',
      message: /something else than a socket is there/,
    });
    assert.equal(await readFile(path, 'utf8'), 'data');
  });

  test('in a directory that is not there are refused with the path', async (t) => {
    await assert.rejects(serverOf(t).listen({ path: '/nonexistent/nbd.sock' }), (error) => {
      return isStorageError(error, 'INVALID') && /\/nonexistent\/nbd\.sock: its directory/.test(error.message);
    });
  });
});

test('several addresses at once, and one that is taken', async (t) => {
  const server = serverOf(t);
  const path = join(await temporaryDirectory(t), 'nbd.sock');
  const tcp = await server.listen({ host: '127.0.0.1', port: 0 });
  await server.listen({ path });
  assert.deepEqual(server.addresses(), [tcp, { path }]);
  assert.ok('port' in tcp && tcp.port > 0);
  await assert.rejects(serverOf(t).listen(tcp), (error) => isStorageError(error, 'HELD'));
  for (const address of server.addresses()) (await RawClient.attach(address)).close();
});

describe('shutdown', () => {
  test('answers what is under way, refuses what comes, then closes', async (t) => {
    const device = new HeldMemoryDevice(MIB);
    const { attach, connect, server, address } = await startServer(t, device);
    const busy = await attach();
    const idle = await attach();
    const handshaking = await connect();
    await handshaking.greet();
    busy.send({ type: Command.WRITE, cookie: 1n, offset: 512, payload: Buffer.alloc(512, 9) });
    await device.whenHeld(1);
    const closed = server.close({ deadlineMs: 60_000 });
    assert.equal((await idle.untilClosed()).length, 0);
    const late = { type: Command.WRITE, cookie: 2n, payload: Buffer.alloc(100_000) };
    assert.equal((await busy.request(late)).errno, NbdErrno.ESHUTDOWN);
    for (const option of [Option.LIST, Option.STRUCTURED_REPLY, Option.GO, 0x1234]) {
      const answers = await handshaking.option(option, option === Option.GO ? infoData('disk') : undefined);
      assert.equal(answers.at(-1)?.type, OptionReply.ERR_SHUTDOWN);
    }
    await assert.rejects(RawClient.connect(address), { code: 'ECONNREFUSED' });
    device.release(512);
    const reply = await busy.reply();
    assert.deepEqual([reply.cookie, reply.errno], [1n, 0]);
    assert.equal((await busy.untilClosed()).length, 0);
    await handshaking.untilClosed();
    await closed;
    assert.equal(device.bytes[512], 9);
    assert.deepEqual(server.addresses(), []);
  });

  test('takes nothing more from a client once it has ended its side, and does not cut it off for what it still sends', async (t) => {
    const { attach, server } = await startServer(t, new MemoryDevice(MIB));
    const client = await attach();
    client.socket.allowHalfOpen = true;
    const closed = server.close({ deadlineMs: 60_000 });
    assert.equal((await client.untilClosed()).length, 0);
    const before = server.connections()[0]?.bytesReceived ?? 0;
    client.send({ type: Command.READ, length: 16 });
    const received = (): number | undefined => server.connections()[0]?.bytesReceived;
    while (received() === before) await new Promise((resolve) => setTimeout(resolve, 1));
    assert.equal(received(), before + 28);
    client.socket.end();
    await closed;
  });

  test('leaves no listener behind that was being made', async (t) => {
    const server = serverOf(t);
    const listening = server.listen({ host: '127.0.0.1', port: 0 });
    const refused = assert.rejects(listening, (error) => isStorageError(error, 'CANCELLED'));
    await server.close({ deadlineMs: 0 });
    await refused;
    assert.deepEqual(server.addresses(), []);
  });

  test('sends large replies to their end', async (t) => {
    const device = new MemoryDevice(32 * MIB);
    device.bytes.fill(3);
    const { attach, server } = await startServer(t, device);
    const client = await attach();
    client.send({ type: Command.READ, length: 32 * MIB });
    while (server.connections()[0]?.requests !== 1) await new Promise((resolve) => setTimeout(resolve, 1));
    const closed = server.close({ deadlineMs: 60_000 });
    assert.ok((await client.reply()).data.equals(device.bytes));
    await client.untilClosed();
    await closed;
  });

  test('cuts what is not done by the deadline', async (t) => {
    const device = new HeldMemoryDevice(MIB);
    const { attach, server } = await startServer(t, device);
    const client = await attach();
    client.send({ type: Command.FLUSH });
    await device.whenHeld(1);
    await server.close({ deadlineMs: 20 });
    assert.equal((await client.untilClosed()).length, 0);
    device.release(0);
  });

  test('is cut short by a second call', async (t) => {
    const device = new HeldMemoryDevice(MIB);
    const { attach, server } = await startServer(t, device);
    const client = await attach();
    client.send({ type: Command.FLUSH });
    await device.whenHeld(1);
    const first = server.close({ deadlineMs: 3_600_000 });
    await Promise.all([first, server.close({ deadlineMs: 3_600_000 })]);
    assert.equal((await client.untilClosed()).length, 0);
    assert.equal(device.held.length, 1);
    device.release(0);
  });

  test('of one device detaches its clients and leaves the others', async (t) => {
    const [going, staying] = [new HeldMemoryDevice(MIB), new MemoryDevice(MIB)];
    const { attach, server } = await startServer(t, [
      { name: 'going', description: '', device: going },
      { name: 'staying', description: '', device: staying },
    ]);
    const [a, b] = [await attach({ name: 'going' }), await attach({ name: 'staying' })];
    a.send({ type: Command.FLUSH, cookie: 1n });
    await going.whenHeld(1);
    const detached = server.detach(going, { deadlineMs: 60_000 });
    assert.equal((await a.request({ type: Command.READ, cookie: 2n, length: 16 })).errno, NbdErrno.ESHUTDOWN);
    going.release(0);
    assert.equal((await a.reply()).cookie, 1n);
    await a.untilClosed();
    await detached;
    assert.equal((await b.request({ type: Command.READ, length: 16 })).errno, 0);
  });
});
