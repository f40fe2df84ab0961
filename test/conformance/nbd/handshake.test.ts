/** Every option, and every bad one, over a socket. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { Info, NbdErrno, Option, OptionReply, TransmissionFlag } from '../../../src/nbd/constants.ts';
import { MemoryDevice } from './memory-device.ts';
import { infoData, metaContextData, optionBytes, type RawClient } from './raw-client.ts';
import { startServer } from './test-server.ts';

const MIB = 1024 * 1024;

const ALL_FLAGS =
  TransmissionFlag.HAS_FLAGS |
  TransmissionFlag.SEND_FLUSH |
  TransmissionFlag.SEND_FUA |
  TransmissionFlag.SEND_TRIM |
  TransmissionFlag.SEND_WRITE_ZEROES |
  TransmissionFlag.CAN_MULTI_CONN |
  TransmissionFlag.SEND_CACHE |
  TransmissionFlag.SEND_FAST_ZERO;

async function lastReply(client: RawClient, option: number, data?: Buffer): Promise<number | undefined> {
  return (await client.option(option, data)).at(-1)?.type;
}

/** The connection is in step and in the handshake still. */
async function assertInHandshake(client: RawClient): Promise<void> {
  assert.equal(await lastReply(client, Option.LIST), OptionReply.ACK);
}

async function greeted(t: import('node:test').TestContext, readOnly = false): Promise<RawClient> {
  const { connect } = await startServer(t, [
    { name: 'disk', description: 'a test disk', device: new MemoryDevice(MIB, { readOnly }) },
    { name: 'Größe', description: '', device: new MemoryDevice(2 * MIB) },
  ]);
  const client = await connect();
  await client.greet();
  return client;
}

describe('options', () => {
  test('LIST names every export with its description', async (t) => {
    const client = await greeted(t);
    const answers = await client.option(Option.LIST);
    assert.deepEqual(
      answers.map(({ type }) => type),
      [OptionReply.SERVER, OptionReply.SERVER, OptionReply.ACK],
    );
    assert.equal(answers[0]?.data.toString(), '\0\0\0\x04diska test disk');
    assert.equal(answers[1]?.data.toString('utf8', 4), 'Größe');
    assert.equal(answers[1]?.data.readUInt32BE(), 7);
  });

  test('INFO tells what was asked and stays in the handshake', async (t) => {
    const client = await greeted(t);
    const infos = [Info.NAME, Info.DESCRIPTION, Info.BLOCK_SIZE];
    const answers = await client.option(Option.INFO, infoData('', infos));
    const byInfo = new Map(answers.slice(0, -1).map(({ data }) => [data.readUInt16BE(), data]));
    assert.equal(byInfo.size, 4);
    assert.equal(byInfo.get(Info.EXPORT)?.readBigUInt64BE(2), BigInt(MIB));
    assert.equal(byInfo.get(Info.EXPORT)?.readUInt16BE(10), ALL_FLAGS);
    assert.equal(byInfo.get(Info.NAME)?.toString('utf8', 2), 'disk');
    assert.equal(byInfo.get(Info.DESCRIPTION)?.toString('utf8', 2), 'a test disk');
    assert.deepEqual(
      [2, 6, 10].map((at) => byInfo.get(Info.BLOCK_SIZE)?.readUInt32BE(at)),
      [1, 4096, 32 * MIB],
    );
    assert.equal(answers.at(-1)?.type, OptionReply.ACK);
    await assertInHandshake(client);
  });

  test('INFO without questions tells the size and flags; DF once replies are structured; READ_ONLY where it is', async (t) => {
    const client = await greeted(t, true);
    await client.option(Option.STRUCTURED_REPLY);
    const answers = await client.option(Option.INFO, infoData('disk'));
    assert.equal(answers.length, 2);
    const flags = answers[0]?.data.readUInt16BE(10);
    assert.equal(flags, ALL_FLAGS | TransmissionFlag.SEND_DF | TransmissionFlag.READ_ONLY);
  });

  test('GO enters the transmission phase of the export named', async (t) => {
    const client = await greeted(t);
    const answers = await client.option(Option.GO, infoData('Größe'));
    assert.equal(answers[0]?.data.readBigUInt64BE(2), BigInt(2 * MIB));
    assert.equal((await client.request({ type: 0, offset: MIB, length: 512 })).errno, 0);
  });

  test('EXPORT_NAME answers size, flags and 124 zeros, which NO_ZEROES leaves out', async (t) => {
    const { connect } = await startServer(t, new MemoryDevice(MIB));
    for (const [flags, zeroes] of [
      [1, 124],
      [3, 0],
      [0, 124],
    ] as const) {
      const client = await connect();
      await client.greet(flags);
      client.write(optionBytes(Option.EXPORT_NAME, Buffer.from('disk')));
      const reply = await client.read(10 + zeroes);
      assert.equal(reply.readBigUInt64BE(), BigInt(MIB));
      assert.equal(reply.readUInt16BE(8), ALL_FLAGS);
      assert.ok(reply.subarray(10).every((byte) => byte === 0));
      assert.equal((await client.request({ type: 0, length: 512 })).framing, 'simple');
    }
  });

  test('an export that is closed is listed and described, and not entered: GO is told why', async (t) => {
    let closed: string | null = 'it is being made smaller';
    const closing = {
      ...{ name: 'disk', description: '', device: new MemoryDevice(MIB) },
      get closed() {
        return closed;
      },
    };
    const { connect, server } = await startServer(t, [closing]);
    const client = await connect();
    await client.greet();
    assert.equal(await lastReply(client, Option.INFO, infoData('disk')), OptionReply.ACK);
    const answers = await client.option(Option.GO, infoData('disk'));
    assert.deepEqual(answers, [{ type: OptionReply.ERR_POLICY, data: Buffer.from('it is being made smaller') }]);
    await assertInHandshake(client);
    const older = await connect();
    await older.greet();
    older.write(optionBytes(Option.EXPORT_NAME, Buffer.from('disk')));
    assert.equal((await older.untilClosed()).length, 0);
    assert.deepEqual(
      server.connections().flatMap(({ export: name }) => (name === null ? [] : [name])),
      [],
    );
    closed = null;
    assert.equal(await lastReply(client, Option.GO, infoData('disk')), OptionReply.ACK);
    assert.equal((await client.request({ type: 0, offset: 0, length: 512 })).errno, NbdErrno.NONE);
  });

  test('ABORT is acknowledged, then the server closes', async (t) => {
    const client = await greeted(t);
    assert.equal(await lastReply(client, Option.ABORT), OptionReply.ACK);
    assert.equal((await client.untilClosed()).length, 0);
  });

  test('metadata contexts are listed by wildcard and by name, and selected by name only', async (t) => {
    const client = await greeted(t);
    await client.option(Option.STRUCTURED_REPLY);
    const names = async (option: number, queries: string[]): Promise<string[]> => {
      const answers = await client.option(option, metaContextData('disk', queries));
      assert.equal(answers.at(-1)?.type, OptionReply.ACK);
      return answers.slice(0, -1).map(({ data }) => `${data.readUInt32BE()} ${data.toString('utf8', 4)}`);
    };
    assert.deepEqual(await names(Option.LIST_META_CONTEXT, []), ['0 base:allocation', '0 bucketdisk:state']);
    assert.deepEqual(await names(Option.LIST_META_CONTEXT, ['bucketdisk:']), ['0 bucketdisk:state']);
    assert.deepEqual(await names(Option.LIST_META_CONTEXT, ['base:']), ['0 base:allocation']);
    assert.deepEqual(await names(Option.LIST_META_CONTEXT, ['qemu:', 'base:allocation']), ['0 base:allocation']);
    assert.deepEqual(await names(Option.LIST_META_CONTEXT, ['qemu:', 'base']), []);
    assert.deepEqual(await names(Option.SET_META_CONTEXT, ['qemu:x', 'base:allocation']), ['1 base:allocation']);
    assert.deepEqual(await names(Option.SET_META_CONTEXT, ['bucketdisk:state']), ['2 bucketdisk:state']);
    assert.deepEqual(await names(Option.SET_META_CONTEXT, ['base:']), []);
    assert.deepEqual(await names(Option.SET_META_CONTEXT, []), []);
  });

  test('contexts hold for the export they were selected for, and the last selection counts', async (t) => {
    const { connect } = await startServer(t, [
      { name: 'a', description: '', device: new MemoryDevice(MIB) },
      { name: 'b', description: '', device: new MemoryDevice(MIB) },
    ]);
    const errnoOfStatus = async (selections: [string, string[]][], name: string): Promise<number> => {
      const client = await connect();
      await client.greet();
      await client.option(Option.STRUCTURED_REPLY);
      for (const [selected, queries] of selections) {
        await client.option(Option.SET_META_CONTEXT, metaContextData(selected, queries));
      }
      await client.option(Option.GO, infoData(name));
      return (await client.request({ type: 7, length: 4096 })).errno;
    };
    assert.equal(await errnoOfStatus([['a', ['base:allocation']]], 'a'), 0);
    assert.equal(await errnoOfStatus([['', ['base:allocation']]], 'a'), 0);
    assert.equal(await errnoOfStatus([['a', ['base:allocation']]], 'b'), NbdErrno.EINVAL);
    assert.equal(await errnoOfStatus([['a', ['base:allocation']], ['a', []]], 'a'), NbdErrno.EINVAL); // biome-ignore format: pairs
    assert.equal(await errnoOfStatus([['a', ['base:allocation']], ['nosuch', []]], 'a'), NbdErrno.EINVAL); // biome-ignore format: pairs
  });
});

describe('bad options are answered and leave the connection in step', () => {
  const nameLongerThanData = Buffer.concat([Buffer.from([0, 0, 0, 200]), Buffer.from('short'), Buffer.alloc(2)]);
  const countTooLarge = Buffer.concat([Buffer.alloc(4), Buffer.from([0, 9])]);
  const trailing = Buffer.concat([infoData('disk'), Buffer.alloc(1)]);
  const rows: [string, number, Buffer | undefined, number][] = [
    ['an unknown option', 0x1234, undefined, OptionReply.ERR_UNSUP],
    ['an unknown option with 1 MiB of data', 0x1234, Buffer.alloc(MIB, 1), OptionReply.ERR_UNSUP],
    ['LIST with data', Option.LIST, Buffer.from('x'), OptionReply.ERR_INVALID],
    ['STRUCTURED_REPLY with data', Option.STRUCTURED_REPLY, Buffer.from('x'), OptionReply.ERR_INVALID],
    ['GO: a name longer than the data', Option.GO, nameLongerThanData, OptionReply.ERR_INVALID],
    ['GO: a name of 5000 bytes', Option.GO, infoData('n'.repeat(5000)), OptionReply.ERR_INVALID],
    ['GO: 2 bytes in all', Option.GO, Buffer.alloc(2), OptionReply.ERR_INVALID],
    ['GO: no data', Option.GO, undefined, OptionReply.ERR_INVALID],
    ['GO: more infos than the data holds', Option.GO, countTooLarge, OptionReply.ERR_INVALID],
    ['GO: bytes after the infos', Option.GO, trailing, OptionReply.ERR_INVALID],
    ['GO: more data than a request has', Option.GO, Buffer.alloc(100_000), OptionReply.ERR_TOO_BIG],
    ['GO: an unknown export', Option.GO, infoData('nosuch'), OptionReply.ERR_UNKNOWN],
    ['INFO: an unknown export', Option.INFO, infoData('nosuch'), OptionReply.ERR_UNKNOWN],
    ['STARTTLS', Option.STARTTLS, undefined, OptionReply.ERR_POLICY],
    ['EXTENDED_HEADERS with data', Option.EXTENDED_HEADERS, Buffer.from('x'), OptionReply.ERR_INVALID],
    ['SET_META before STRUCTURED_REPLY', Option.SET_META_CONTEXT, metaContextData('disk', []), OptionReply.ERR_INVALID],
    [
      'LIST_META before STRUCTURED_REPLY',
      Option.LIST_META_CONTEXT,
      metaContextData('disk', []),
      OptionReply.ERR_INVALID,
    ],
  ];
  for (const [name, option, data, expected] of rows) {
    test(name, async (t) => {
      const client = await greeted(t);
      assert.equal(await lastReply(client, option, data), expected);
      await assertInHandshake(client);
    });
  }

  const metaRows: [string, Buffer, number][] = [
    ['no data', Buffer.alloc(0), OptionReply.ERR_INVALID],
    [
      'a name longer than the data',
      Buffer.concat([Buffer.from([0, 0, 1, 0]), Buffer.alloc(8)]),
      OptionReply.ERR_INVALID,
    ],
    ['a query longer than the data', metaContextData('disk', ['base:x']).subarray(0, -1), OptionReply.ERR_INVALID],
    ['a query count beyond the data', Buffer.concat([Buffer.alloc(4), Buffer.alloc(4, 255)]), OptionReply.ERR_INVALID],
    [
      'bytes after the queries',
      Buffer.concat([metaContextData('disk', ['a:b']), Buffer.alloc(1)]),
      OptionReply.ERR_INVALID,
    ],
    ['an unknown export', metaContextData('nosuch', ['base:']), OptionReply.ERR_UNKNOWN],
  ];
  for (const [name, data, expected] of metaRows) {
    test(`SET_META: ${name}`, async (t) => {
      const client = await greeted(t);
      await client.option(Option.STRUCTURED_REPLY);
      assert.equal(await lastReply(client, Option.SET_META_CONTEXT, data), expected);
      assert.equal(await lastReply(client, Option.LIST_META_CONTEXT, data), expected);
      await assertInHandshake(client);
    });
  }

  test('STRUCTURED_REPLY twice is acknowledged, then INVALID', async (t) => {
    const client = await greeted(t);
    assert.equal(await lastReply(client, Option.STRUCTURED_REPLY), OptionReply.ACK);
    assert.equal(await lastReply(client, Option.STRUCTURED_REPLY), OptionReply.ERR_INVALID);
    await assertInHandshake(client);
  });
});

describe('the connection is closed for', () => {
  test('an unknown client flag', async (t) => {
    const { connect } = await startServer(t, new MemoryDevice(MIB));
    const client = await connect();
    await client.greet(4);
    assert.equal((await client.untilClosed()).length, 0);
  });

  const rows: [string, Buffer][] = [
    ['a bad option magic', Buffer.alloc(16, 0x5a)],
    ['an option of over 32 MiB', optionBytes(0x1234, Buffer.alloc(0), 32 * MIB + 1)],
    ['EXPORT_NAME of an unknown export', optionBytes(Option.EXPORT_NAME, Buffer.from('nosuch'))],
    ['EXPORT_NAME of 5000 bytes', optionBytes(Option.EXPORT_NAME, Buffer.alloc(5000, 0x61))],
    ['EXPORT_NAME of 100000 bytes', optionBytes(Option.EXPORT_NAME, Buffer.alloc(100_000, 0x61))],
  ];
  for (const [name, bytes] of rows) {
    test(name, async (t) => {
      const client = await greeted(t);
      client.write(bytes);
      assert.equal((await client.untilClosed()).length, 0);
    });
  }

  test('options of over 64 MiB in all', async (t) => {
    const client = await greeted(t);
    const large = Buffer.alloc(32 * MIB);
    assert.equal(await lastReply(client, 0x1234, large), OptionReply.ERR_UNSUP);
    client.write(optionBytes(0x1234, large.subarray(0, 0), 32 * MIB));
    assert.equal((await client.untilClosed()).length, 0);
  });
});
