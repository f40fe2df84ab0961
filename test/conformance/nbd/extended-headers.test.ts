/** Extended headers: how they are negotiated, and what only they have. */
import assert from 'node:assert/strict';
import { describe, type TestContext, test } from 'node:test';
import { Command, CommandFlag, NbdErrno, Option, OptionReply, TransmissionFlag } from '../../../src/nbd/constants.ts';
import type { DeviceExtent } from '../../../src/volume/block-device.ts';
import { MemoryDevice } from './memory-device.ts';
import {
  infoData,
  metaContextData,
  optionBytes,
  queryPayload,
  type RawClient,
  type Request,
  requestBytes,
} from './raw-client.ts';
import { startServer } from './test-server.ts';

const MIB = 1024 * 1024;
const TIB = 1024 * 1024 * MIB;

async function greeted(t: TestContext): Promise<RawClient> {
  const client = await (await startServer(t, new MemoryDevice(MIB))).connect();
  await client.greet();
  return client;
}

const last = async (client: RawClient, option: number, data?: Buffer): Promise<number | undefined> =>
  (await client.option(option, data)).at(-1)?.type;

describe('negotiating', () => {
  const { ACK, ERR_INVALID, ERR_EXT_HEADER_REQD } = OptionReply;

  test('is acknowledged once, and not with data', async (t) => {
    const client = await greeted(t);
    assert.equal(await last(client, Option.EXTENDED_HEADERS, Buffer.from('x')), ERR_INVALID);
    assert.equal(await last(client, Option.EXTENDED_HEADERS), ACK);
    assert.equal(await last(client, Option.EXTENDED_HEADERS), ERR_INVALID);
  });

  test('goes before structured replies, which cannot be had any more', async (t) => {
    const client = await greeted(t);
    assert.equal(await last(client, Option.EXTENDED_HEADERS), ACK);
    assert.equal(await last(client, Option.STRUCTURED_REPLY), ERR_EXT_HEADER_REQD);
    await client.option(Option.GO, infoData(''));
    client.framing = 'extended';
    assert.equal((await client.request({ type: Command.READ, length: 512 })).framing, 'extended');
  });

  test('goes after structured replies, which it replaces; what was selected stays selected', async (t) => {
    const client = await greeted(t);
    assert.equal(await last(client, Option.STRUCTURED_REPLY), ACK);
    assert.equal(await last(client, Option.SET_META_CONTEXT, metaContextData('', ['base:allocation'])), ACK);
    assert.equal(await last(client, Option.EXTENDED_HEADERS), ACK);
    await client.option(Option.GO, infoData(''));
    client.framing = 'extended';
    const reply = await client.request({ type: Command.BLOCK_STATUS, length: MIB });
    assert.equal(reply.chunks[0]?.data.readUInt32BE(0), 1);
  });

  test('is enough to ask for contexts', async (t) => {
    const client = await greeted(t);
    await client.option(Option.EXTENDED_HEADERS);
    const answers = await client.option(Option.LIST_META_CONTEXT, metaContextData('', []));
    const names = answers.slice(0, -1).map(({ data }) => data.toString('utf8', 4));
    assert.deepEqual(names, ['base:allocation', 'bucketdisk:state']);
  });

  test('forbids EXPORT_NAME: the connection is closed', async (t) => {
    const client = await greeted(t);
    await client.option(Option.EXTENDED_HEADERS);
    client.write(optionBytes(Option.EXPORT_NAME, Buffer.from('disk')));
    assert.equal((await client.untilClosed()).length, 0);
  });

  test('offers BLOCK_STATUS_PAYLOAD where there is a context to name, and to those who only ask', async (t) => {
    const flagsOf = async (framing: number, contexts: readonly string[], option: number): Promise<number> => {
      const client = await greeted(t);
      await client.option(framing);
      await client.option(Option.SET_META_CONTEXT, metaContextData('', contexts));
      return (await client.option(option, infoData('')))[0]?.data.readUInt16BE(10) ?? 0;
    };
    const { BLOCK_STATUS_PAYLOAD, SEND_DF } = TransmissionFlag;
    const some = ['base:allocation'];
    const rows = [
      [Option.EXTENDED_HEADERS, some, Option.GO, true],
      [Option.EXTENDED_HEADERS, [], Option.GO, false],
      [Option.EXTENDED_HEADERS, [], Option.INFO, true],
      [Option.STRUCTURED_REPLY, some, Option.GO, false],
      [Option.STRUCTURED_REPLY, some, Option.INFO, false],
    ] as const;
    for (const [framing, contexts, option, offered] of rows) {
      const flags = await flagsOf(framing, contexts, option);
      assert.equal((flags & BLOCK_STATUS_PAYLOAD) !== 0, offered);
      assert.ok((flags & SEND_DF) !== 0);
    }
  });
});

/** Of 8 TiB, almost all of it a hole: it only notes what it is asked. */
class HugeDevice extends MemoryDevice {
  override readonly geometry;

  constructor() {
    super(MIB);
    this.geometry = { ...new MemoryDevice(0).geometry, sizeBytes: 8 * TIB };
  }

  override trim(offset: number, length: number): void {
    this.calls.push(`trim ${offset} ${length}`);
  }

  override zero(offset: number, length: number): void {
    this.calls.push(`zero ${offset} ${length}`);
  }

  override extents(offset: number, length: number): DeviceExtent[] {
    this.calls.push(`extents ${offset} ${length}`);
    return [
      { length: MIB, hole: false, zero: false, state: 'dirty' },
      { length: length - MIB, hole: true, zero: true, state: 'absent' },
    ];
  }
}

describe('requests', () => {
  test('of terabytes reach the device in one piece, and their status is told in one chunk', async (t) => {
    const device = new HugeDevice();
    const contexts = ['base:allocation', 'bucketdisk:state'];
    const client = await (await startServer(t, device)).attach({ framing: 'extended', contexts });
    assert.equal((await client.request({ type: Command.TRIM, length: 8 * TIB })).errno, 0);
    assert.equal((await client.request({ type: Command.WRITE_ZEROES, offset: 512, length: 8 * TIB - 512 })).errno, 0);
    assert.equal((await client.request({ type: Command.CACHE, length: 8 * TIB })).errno, 0);
    const plain = await client.request({ type: Command.BLOCK_STATUS, offset: 0, length: 8 * TIB });
    const query = queryPayload(8 * TIB, [2]);
    const chosen = await client.request({ type: Command.BLOCK_STATUS, payload: query });
    const lengths = [plain.chunks[0], plain.chunks[1], chosen.chunks[0]].map((chunk) => [
      chunk?.data.readBigUInt64BE(8),
      chunk?.data.readBigUInt64BE(24),
    ]);
    assert.deepEqual(lengths, Array(3).fill([BigInt(MIB), BigInt(8 * TIB - MIB)]));
    assert.deepEqual(device.calls, [
      `trim 0 ${8 * TIB}`,
      `zero 512 ${8 * TIB - 512}`,
      `prefetch 0 ${8 * TIB}`,
      `extents 0 ${8 * TIB}`,
      `extents 0 ${8 * TIB}`,
    ]);
  });

  for (const framing of ['simple', 'structured', 'extended'] as const) {
    test(`to trim or zero gigabytes are done at once, in one piece, with ${framing} replies`, async (t) => {
      const device = new HugeDevice();
      const client = await (await startServer(t, device)).attach({ framing });
      const longest = 2 ** 32 - 1;
      const { FAST_ZERO } = CommandFlag;
      const requests: Request[] = [
        { type: Command.TRIM, offset: TIB, length: 1024 * MIB },
        { type: Command.WRITE_ZEROES, flags: FAST_ZERO, offset: TIB, length: 1024 * MIB },
        { type: Command.TRIM, length: longest },
        { type: Command.WRITE_ZEROES, flags: FAST_ZERO, length: longest },
      ];
      for (const request of requests) assert.equal((await client.request(request)).errno, 0);
      assert.deepEqual(device.calls, [
        `trim ${TIB} ${1024 * MIB}`,
        `zero ${TIB} ${1024 * MIB}`,
        `trim 0 ${longest}`,
        `zero 0 ${longest}`,
      ]);
    });
  }

  test('have their offset told back in every chunk, all 64 bits of it, also where they fail', async (t) => {
    const client = await (await startServer(t, new MemoryDevice(MIB))).attach({
      framing: 'extended',
      contexts: ['base:allocation', 'bucketdisk:state'],
    });
    const max = 2n ** 64n - 1n;
    const rows = [
      [{ type: Command.READ, offset: 4096n, length: 8192 }, 0],
      [{ type: Command.WRITE, offset: 12_345n, payload: Buffer.alloc(10) }, 0],
      [{ type: Command.BLOCK_STATUS, offset: 512n, length: 4096 }, 0],
      [{ type: Command.FLUSH, offset: max }, 0],
      [{ type: Command.READ, offset: max, length: 1 }, NbdErrno.EINVAL],
      [{ type: Command.WRITE, offset: max - 7n, payload: Buffer.alloc(10) }, NbdErrno.ENOSPC],
      [{ type: 99, offset: 2n ** 53n + 1n }, NbdErrno.EINVAL],
    ] as const;
    for (const [request, errno] of rows) {
      const reply = await client.request(request);
      assert.equal(reply.errno, errno);
      assert.ok(reply.chunks.length >= 1);
      for (const chunk of reply.chunks) assert.equal(chunk.offset, request.offset);
    }
  });

  test('to write may lack PAYLOAD_LEN, as those of qemu do: the payload is taken all the same', async (t) => {
    const device = new MemoryDevice(MIB);
    const client = await (await startServer(t, device)).attach({ framing: 'extended' });
    client.send({ type: Command.WRITE, offset: 512, length: 1000 });
    client.write(Buffer.alloc(1000, 7));
    assert.equal((await client.reply()).errno, 0);
    assert.ok(device.bytes.subarray(512, 1512).equals(Buffer.alloc(1000, 7)));
    client.send({ type: Command.WRITE, offset: MIB, length: 1000 });
    client.write(Buffer.alloc(1000, 7));
    assert.equal((await client.reply()).errno, NbdErrno.ENOSPC);
    assert.equal((await client.request({ type: Command.READ, length: 512 })).errno, 0);
  });

  test('with the compact magic lose the connection, and compact ones with the extended', async (t) => {
    const { attach } = await startServer(t, new MemoryDevice(MIB));
    const rows = [
      [await attach({ framing: 'extended' }), false],
      [await attach({ framing: 'structured' }), true],
    ] as const;
    for (const [client, extended] of rows) {
      client.write(requestBytes({ type: Command.READ, length: 512 }, extended));
      client.write(Buffer.alloc(100));
      assert.equal((await client.untilClosed()).length, 0);
    }
  });

  test('with a payload of over 64 MiB lose the connection; DISC may have any flag', async (t) => {
    const { attach } = await startServer(t, new MemoryDevice(MIB));
    for (const length of [64n * BigInt(MIB) + 1n, 2n ** 63n]) {
      const client = await attach({ framing: 'extended' });
      client.send({ type: Command.TRIM, flags: CommandFlag.PAYLOAD_LEN, length });
      assert.equal((await client.untilClosed()).length, 0);
    }
    const client = await attach({ framing: 'extended' });
    client.send({ type: Command.DISC, flags: 0xffff, length: 12 });
    assert.equal((await client.untilClosed()).length, 0);
  });
});
