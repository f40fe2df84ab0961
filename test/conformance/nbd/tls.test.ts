/** STARTTLS on real sockets: what is answered before it, what survives it, and what becomes of those who do it wrong. */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { describe, type TestContext, test } from 'node:test';
import { Chunk, Command, CommandFlag, NbdErrno, Option, OptionReply } from '../../../src/nbd/constants.ts';
import type { NbdLimits } from '../../../src/nbd/limits.ts';
import { LogBook } from '../../unit/volume/fixtures.ts';
import { HeldMemoryDevice, LaterMemoryDevice, MemoryDevice } from './memory-device.ts';
import { infoData, metaContextData, optionBytes, type RawClient, requestBytes } from './raw-client.ts';
import { startServer, type TestServer, type TestServerOptions } from './test-server.ts';
import { pskAcceptor, pskClient } from './tls-fixtures.ts';

const MIB = 1024 * 1024;

async function serve(
  t: TestContext,
  {
    device = new MemoryDevice(MIB),
    limits = {},
    ...options
  }: TestServerOptions & { device?: MemoryDevice; limits?: Partial<NbdLimits> } = {},
): Promise<TestServer> {
  return startServer(t, device, limits, { acceptor: await pskAcceptor(t), ...options });
}

async function greeted({ connect }: TestServer): Promise<RawClient> {
  const client = await connect();
  await client.greet();
  return client;
}

async function secured(server: TestServer): Promise<RawClient> {
  const client = await greeted(server);
  await client.startTls(pskClient());
  return client;
}

async function attached(server: TestServer): Promise<RawClient> {
  const client = await secured(server);
  await client.option(Option.STRUCTURED_REPLY);
  await client.option(Option.GO, infoData('disk'));
  return client;
}

async function lastReply(client: RawClient, option: number, data?: Buffer): Promise<number | undefined> {
  return (await client.option(option, data)).at(-1)?.type;
}

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise((resolve) => setTimeout(resolve, 1));
}

describe('where TLS is offered', () => {
  test('clients may do without', async (t) => {
    const client = await greeted(await serve(t));
    assert.equal(await lastReply(client, Option.GO, infoData('disk')), OptionReply.ACK);
    assert.equal((await client.request({ type: Command.READ, length: 512 })).errno, NbdErrno.NONE);
  });

  test('a connection goes on encrypted, as who the client has shown to be', async (t) => {
    const server = await serve(t);
    const client = await attached(server);
    const payload = randomBytes(100_000);
    assert.equal((await client.request({ type: Command.WRITE, offset: 7, payload })).errno, NbdErrno.NONE);
    assert.deepEqual((await client.request({ type: Command.READ, offset: 7, length: 100_000 })).data, payload);
    const [status] = server.server.connections();
    assert.deepEqual(status?.client, { tls: 'TLSv1.3', names: ['psk:alice'] });
    assert.equal(status?.state, 'attached');
    assert.equal(status?.readOnly, false);
    client.send({ type: Command.DISC });
    assert.equal((await client.untilClosed()).length, 0);
    assert.equal(client.socket.readableEnded, true, 'TLS says goodbye, so that the end is known to be one');
  });

  test('nothing that was agreed before it holds after it', async (t) => {
    const client = await greeted(await serve(t));
    assert.equal(await lastReply(client, Option.STRUCTURED_REPLY), OptionReply.ACK);
    const contexts = metaContextData('disk', ['base:allocation']);
    assert.equal((await client.option(Option.SET_META_CONTEXT, contexts)).length, 2);
    await client.startTls(pskClient());
    assert.equal(await lastReply(client, Option.SET_META_CONTEXT, contexts), OptionReply.ERR_INVALID);
    assert.equal(await lastReply(client, Option.GO, infoData('disk')), OptionReply.ACK);
    const read = await client.request({ type: Command.READ, length: 512 });
    assert.equal(read.framing, 'simple');
    const df = { type: Command.READ, flags: CommandFlag.DF, length: 512 };
    assert.equal((await client.request(df)).errno, NbdErrno.EINVAL);
    assert.equal((await client.request({ type: Command.BLOCK_STATUS, length: 4096 })).errno, NbdErrno.EINVAL);
  });

  test('it may be agreed anew after it', async (t) => {
    const client = await greeted(await serve(t));
    await client.option(Option.STRUCTURED_REPLY);
    await client.startTls(pskClient());
    assert.equal(await lastReply(client, Option.STRUCTURED_REPLY), OptionReply.ACK);
    assert.equal(await lastReply(client, Option.STRUCTURED_REPLY), OptionReply.ERR_INVALID);
    await client.option(Option.SET_META_CONTEXT, metaContextData('disk', ['base:allocation']));
    await client.option(Option.GO, infoData('disk'));
    const { chunks } = await client.request({ type: Command.BLOCK_STATUS, length: 4096 });
    assert.deepEqual(chunks.map(({ type }) => type), [Chunk.BLOCK_STATUS]); // biome-ignore format: one line
  });

  test('the flags that a client gave before are those of the connection', async (t) => {
    for (const [flags, zeroes] of [
      [1, 124],
      [3, 0],
    ] as const) {
      // biome-ignore format: pairs
      const client = await (await serve(t)).connect();
      await client.greet(flags);
      await client.startTls(pskClient());
      client.write(optionBytes(Option.EXPORT_NAME, Buffer.from('disk')));
      assert.equal((await client.read(10 + zeroes)).readBigUInt64BE(), BigInt(MIB));
      assert.equal((await client.request({ type: Command.READ, length: 512 })).errno, NbdErrno.NONE);
    }
  });

  test('STARTTLS with data, and once more, is INVALID', async (t) => {
    const client = await greeted(await serve(t));
    assert.equal(await lastReply(client, Option.STARTTLS, Buffer.from('x')), OptionReply.ERR_INVALID);
    await client.startTls(pskClient());
    assert.equal(await lastReply(client, Option.STARTTLS), OptionReply.ERR_INVALID);
    assert.equal(await lastReply(client, Option.LIST), OptionReply.ACK);
  });
});

describe('where TLS is required', () => {
  const options: [string, number, Buffer | undefined][] = [
    ['LIST', Option.LIST, undefined],
    ['INFO', Option.INFO, infoData('disk')],
    ['GO', Option.GO, infoData('disk')],
    ['GO of what is not there', Option.GO, infoData('nosuch')],
    ['GO, malformed', Option.GO, Buffer.alloc(2)],
    ['GO, too long', Option.GO, Buffer.alloc(100_000)],
    ['STRUCTURED_REPLY', Option.STRUCTURED_REPLY, undefined],
    ['LIST_META_CONTEXT', Option.LIST_META_CONTEXT, metaContextData('disk', [])],
    ['SET_META_CONTEXT', Option.SET_META_CONTEXT, metaContextData('disk', [])],
    ['EXTENDED_HEADERS', Option.EXTENDED_HEADERS, undefined],
    ['an unknown option', 0x1234, undefined],
    ['an unknown option with data', 0x1234, Buffer.alloc(MIB, 1)],
  ];

  test('everything before it is answered with TLS_REQD, and tells nothing of what is there', async (t) => {
    const client = await greeted(await serve(t, { tls: 'required' }));
    for (const [name, option, data] of options) {
      const answers = await client.option(option, data);
      assert.deepEqual(
        answers.map(({ type, data: text }) => [type, text.toString()]),
        [[OptionReply.ERR_TLS_REQD, 'this server wants TLS first']],
        name,
      );
    }
    await client.startTls(pskClient());
    assert.equal(await lastReply(client, Option.GO, infoData('disk')), OptionReply.ACK);
    assert.equal((await client.request({ type: Command.READ, length: 512 })).errno, NbdErrno.NONE);
  });

  test('ABORT is acknowledged', async (t) => {
    const client = await greeted(await serve(t, { tls: 'required' }));
    assert.equal(await lastReply(client, Option.ABORT), OptionReply.ACK);
    assert.equal((await client.untilClosed()).length, 0);
  });

  test('EXPORT_NAME, which has no room for an error, ends the connection', async (t) => {
    for (const name of ['disk', 'nosuch', '']) {
      const client = await greeted(await serve(t, { tls: 'required' }));
      client.write(optionBytes(Option.EXPORT_NAME, Buffer.from(name)));
      assert.equal((await client.untilClosed()).length, 0);
    }
  });

  test('a server that has none does not begin to listen', async (t) => {
    await assert.rejects(startServer(t, new MemoryDevice(MIB), {}, { tls: 'required' }), { code: 'INVALID' });
  });
});

describe('what comes between STARTTLS and the TLS handshake', () => {
  const smuggled = optionBytes(Option.STRUCTURED_REPLY);

  for (const [name, more] of [
    ['an option', smuggled],
    ['the beginning of an option', smuggled.subarray(0, 5)],
    ['one byte', Buffer.alloc(1)],
    ['a handshake that did not wait for the reply', Buffer.from('1603010005010000010000', 'hex')],
  ] as const) {
    test(`in one piece with it: ${name} ends the connection, unanswered`, async (t) => {
      const log = new LogBook();
      const server = await serve(t, { log });
      const client = await greeted(server);
      client.write(Buffer.concat([optionBytes(Option.STARTTLS), more]));
      assert.equal((await client.untilClosed()).length, 0);
      await until(() => server.server.connections().length === 0);
      assert.ok(log.lines.some(({ fields }) => /came between STARTTLS and the TLS/.test(String(fields.reason))));
    });
  }

  test('after the reply: it is no TLS, and is never taken for an option', async (t) => {
    const server = await serve(t);
    const client = await greeted(server);
    client.write(optionBytes(Option.STARTTLS));
    assert.equal((await client.optionAnswers(Option.STARTTLS)).at(-1)?.type, OptionReply.ACK);
    client.write(Buffer.concat([smuggled, optionBytes(Option.LIST), optionBytes(Option.GO, infoData('disk'))]));
    const rest = await client.untilClosed();
    // A TLS alert at most.
    assert.ok(rest.length === 0 || (rest[0] === 21 && rest.length < 20), rest.toString('hex'));
    await until(() => server.server.connections().length === 0);
  });

  test('before it, byte by byte: that is only a slow client', async (t) => {
    const client = await greeted(await serve(t));
    for (const byte of optionBytes(Option.STARTTLS)) {
      client.write(Buffer.from([byte]));
      await new Promise((resolve) => setImmediate(resolve));
    }
    assert.equal((await client.optionAnswers(Option.STARTTLS)).at(-1)?.type, OptionReply.ACK);
    await client.secure(pskClient());
    assert.equal(await lastReply(client, Option.LIST), OptionReply.ACK);
  });
});

test('STARTTLS that had to wait for earlier replies to be read begins TLS all the same', async (t) => {
  const server = await serve(t, { limits: { unsentBytesMax: 0, handshakeTimeoutMs: 60_000 } });
  const client = await greeted(server);
  const lists = 50_000;
  const list = optionBytes(Option.LIST);
  // More replies than fit in the system's buffers, and nobody reads them yet.
  client.write(Buffer.concat([Buffer.alloc(list.length * lists, list), optionBytes(Option.STARTTLS)]));
  for (let i = 0; i < lists; i++) assert.equal((await client.optionAnswers(Option.LIST)).length, 2);
  assert.equal((await client.optionAnswers(Option.STARTTLS)).at(-1)?.type, OptionReply.ACK);
  await client.secure(pskClient());
  assert.equal(await lastReply(client, Option.LIST), OptionReply.ACK);
});

describe('a TLS handshake', () => {
  for (const [name, bytes] of [
    ['that never begins', Buffer.alloc(0)],
    ['that stops in the middle of the first record', Buffer.from('160301020001', 'hex')],
  ] as const) {
    test(`${name} is given up by the deadline of the whole handshake`, async (t) => {
      const log = new LogBook();
      const server = await serve(t, { log, limits: { handshakeTimeoutMs: 100 } });
      const client = await greeted(server);
      client.write(optionBytes(Option.STARTTLS));
      await client.optionAnswers(Option.STARTTLS);
      client.write(bytes);
      await until(() => server.server.connections()[0]?.state === 'tls');
      await client.untilClosed();
      await until(() => server.server.connections().length === 0);
      assert.ok(log.lines.some(({ fields }) => fields.reason === 'the handshake took too long'));
    });
  }

  test('does not begin the deadline anew', async (t) => {
    const server = await serve(t, { limits: { handshakeTimeoutMs: 200 } });
    const client = await secured(server);
    assert.equal(await lastReply(client, Option.LIST), OptionReply.ACK);
    await client.untilClosed();
  });

  test('that a client leaves in the middle leaves nothing behind', async (t) => {
    const server = await serve(t, { limits: { handshakeTimeoutMs: 3_600_000 } });
    for (const leave of ['end', 'destroy', 'resetAndDestroy'] as const) {
      const client = await greeted(server);
      client.write(optionBytes(Option.STARTTLS));
      await client.optionAnswers(Option.STARTTLS);
      client.socket[leave]();
      await until(() => server.server.connections().length === 0);
    }
  });

  test('under way when the server closes is cut at once', async (t) => {
    const server = await serve(t);
    const client = await greeted(server);
    client.write(optionBytes(Option.STARTTLS));
    await client.optionAnswers(Option.STARTTLS);
    await until(() => server.server.connections()[0]?.state === 'tls');
    await server.server.close({ deadlineMs: 60_000 });
    await client.untilClosed();
  });

  test('that succeeds while the server shuts down is told so', async (t) => {
    const device = new HeldMemoryDevice(MIB);
    const server = await serve(t, { device });
    const busy = await attached(server);
    busy.send({ type: Command.FLUSH });
    await device.whenHeld(1);
    const late = await greeted(server);
    late.write(optionBytes(Option.STARTTLS));
    await late.optionAnswers(Option.STARTTLS);
    const closed = server.server.close({ deadlineMs: 60_000 });
    await late.secure(pskClient());
    assert.equal(await lastReply(late, Option.GO, infoData('disk')), OptionReply.ERR_SHUTDOWN);
    device.release(0);
    assert.equal((await busy.reply()).errno, NbdErrno.NONE);
    await Promise.all([busy.untilClosed(), late.untilClosed(), closed]);
  });
});

describe('over TLS', () => {
  test('large requests go both ways, many under way at once', async (t) => {
    const device = new LaterMemoryDevice(64 * MIB);
    const client = await attached(await serve(t, { device, limits: { inFlightBytesPerConnectionMax: 40 * MIB } }));
    const payload = randomBytes(32 * MIB);
    assert.equal((await client.request({ type: Command.WRITE, payload })).errno, NbdErrno.NONE);
    assert.ok((await client.request({ type: Command.READ, length: payload.length })).data.equals(payload));
    const count = 64;
    for (let i = 0; i < count; i++) {
      client.send({
        type: Command.WRITE,
        cookie: BigInt(i),
        offset: 32 * MIB + i * 70_001,
        payload: Buffer.alloc(70_001, i + 1),
      });
    }
    for (let i = 0; i < count; i++) assert.equal((await client.reply()).errno, NbdErrno.NONE);
    for (let i = 0; i < count; i++) assert.equal(device.bytes[32 * MIB + i * 70_001 + 70_000], i + 1);
  });

  test('a client that does not read its replies is not read from, and given up', async (t) => {
    const device = new MemoryDevice(MIB);
    device.bytes.set(randomBytes(MIB));
    const limits = { unsentBytesMax: 256 * 1024, stallTimeoutMs: 100 };
    const server = await serve(t, { device, limits });
    const client = await attached(server);
    client.socket.removeAllListeners('readable');
    client.socket.pause();
    const one = requestBytes({ type: Command.READ, length: 4096 });
    client.write(Buffer.alloc(one.length * 20_000, one));
    await until(() => (server.server.connections()[0]?.bytesUnsent ?? 0) > 256 * 1024);
    assert.ok((server.server.connections()[0]?.bytesUnsent ?? 0) <= 264 * 1024);
    await until(() => server.server.connections().length === 0);
    assert.equal(server.server.bytesInFlight, 0);
  });

  test('a payload that is begun and not finished is given up', async (t) => {
    const server = await serve(t, { device: new MemoryDevice(64 * MIB), limits: { stallTimeoutMs: 50 } });
    const client = await attached(server);
    client.write(requestBytes({ type: Command.WRITE, length: 32 * MIB }));
    client.write(Buffer.alloc(1000));
    await client.untilClosed();
    await until(() => server.server.bytesInFlight === 0);
  });

  test('a client that has ended its side still gets its answers', async (t) => {
    const device = new HeldMemoryDevice(MIB);
    const client = await attached(await serve(t, { device }));
    client.socket.allowHalfOpen = true;
    client.send({ type: Command.READ, length: 4096 });
    await device.whenHeld(1);
    client.socket.end();
    await once(client.socket, 'finish');
    device.release(0);
    assert.equal((await client.reply()).data.length, 4096);
    assert.equal((await client.untilClosed()).length, 0);
  });

  test('what is cut off in the middle of a payload is not written', async (t) => {
    const device = new MemoryDevice(MIB);
    const server = await serve(t, { device });
    const client = await attached(server);
    client.write(requestBytes({ type: Command.WRITE, length: 100_000 }));
    client.write(Buffer.alloc(50_000, 1));
    await until(() => server.server.bytesInFlight === 100_000);
    client.socket.destroy();
    await until(() => server.server.connections().length === 0);
    assert.equal(server.server.bytesInFlight, 0);
    assert.deepEqual(device.calls, []);
  });
});
