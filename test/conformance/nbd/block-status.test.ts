/** BLOCK_STATUS: the device's own map, in the contexts that were negotiated, or those of them that a request names. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { Chunk, Command, CommandFlag, NbdErrno } from '../../../src/nbd/constants.ts';
import { LaterMemoryDevice, MemoryDevice } from './memory-device.ts';
import { queryPayload, type RawClient, type Reply, type Request } from './raw-client.ts';
import { startServer } from './test-server.ts';

const MIB = 1024 * 1024;
const SIZE = 8 * MIB;
const BOTH = ['base:allocation', 'bucketdisk:state'];
/** Their ids are told when they are selected; ours are always these. */
const [ALLOCATION, STATE] = [1, 2];
const HOLE_ZERO = 3;
const [ABSENT, CLEAN, DIRTY] = [0, 1, 2];

/** Of each chunk: the context's id, then lengths and statuses in turns. */
function runsOf(reply: Reply): number[][] {
  assert.equal(reply.errno, 0, reply.text);
  return reply.chunks.map(({ type, data }) => {
    if (reply.framing === 'structured') {
      assert.equal(type, Chunk.BLOCK_STATUS);
      return Array.from({ length: data.length / 4 }, (_, i) => data.readUInt32BE(4 * i));
    }
    assert.equal(type, Chunk.BLOCK_STATUS_EXT);
    const numbers = Array.from({ length: (data.length - 8) / 8 }, (_, i) => Number(data.readBigUInt64BE(8 + 8 * i)));
    assert.equal(numbers.length, 2 * data.readUInt32BE(4), 'the count of descriptors');
    return [data.readUInt32BE(0), ...numbers];
  });
}

const status = async (client: RawClient, request: Partial<Request>): Promise<number[][]> =>
  runsOf(await client.request({ type: Command.BLOCK_STATUS, ...request }));

for (const Device of [MemoryDevice, LaterMemoryDevice]) {
  for (const framing of ['structured', 'extended'] as const) {
    describe(`${Device.name}, ${framing} replies`, () => {
      test('allocation, neighbours joined, from within an extent, and one run only', async (t) => {
        const client = await (await startServer(t, new Device(SIZE))).attach({
          framing,
          contexts: ['base:allocation'],
        });
        await client.request({ type: Command.WRITE, offset: MIB, payload: Buffer.alloc(MIB) });
        const rest = SIZE - 2 * MIB;
        assert.deepEqual(await status(client, { length: SIZE }), [
          [ALLOCATION, MIB, HOLE_ZERO, MIB, 0, rest, HOLE_ZERO],
        ]);
        const across = { offset: MIB - 100, length: 300 };
        assert.deepEqual(await status(client, across), [[ALLOCATION, 100, HOLE_ZERO, 200, 0]]);
        const one = await status(client, { ...across, flags: CommandFlag.REQ_ONE });
        assert.deepEqual(one, [[ALLOCATION, 100, HOLE_ZERO]]);
        const within = { offset: MIB, length: 4096, flags: CommandFlag.REQ_ONE };
        assert.deepEqual(await status(client, within), [[ALLOCATION, 4096, 0]]);
      });

      test('both contexts, a chunk each, each with runs of its own', async (t) => {
        const client = await (await startServer(t, new Device(SIZE))).attach({ framing, contexts: BOTH });
        await client.request({ type: Command.WRITE, offset: 0, payload: Buffer.alloc(MIB, 1) });
        await client.request({ type: Command.FLUSH });
        await client.request({ type: Command.WRITE, offset: MIB, payload: Buffer.alloc(MIB, 1) });
        const rest = SIZE - 2 * MIB;
        assert.deepEqual(await status(client, { length: SIZE }), [
          [ALLOCATION, 2 * MIB, 0, rest, HOLE_ZERO],
          [STATE, MIB, CLEAN, MIB, DIRTY, rest, ABSENT],
        ]);
        const one = await status(client, { length: SIZE, flags: CommandFlag.REQ_ONE });
        assert.deepEqual(one.map(([id]) => id), [ALLOCATION, STATE]); // biome-ignore format: one line
        for (const [, length = 0] of one) assert.ok(length > 0 && length <= 2 * MIB);
      });

      test('only the context that was selected', async (t) => {
        const client = await (await startServer(t, new Device(SIZE))).attach({
          framing,
          contexts: ['bucketdisk:state'],
        });
        assert.deepEqual(await status(client, { length: SIZE }), [[STATE, SIZE, ABSENT]]);
      });

      test('past the end, wherever that is, is EINVAL, and the connection is in step', async (t) => {
        const device = new Device(SIZE);
        const client = await (await startServer(t, device)).attach({ framing, contexts: BOTH });
        const ranges: [bigint | number, number][] = [
          [SIZE - 512, 1024],
          [SIZE, 1],
          [0, SIZE + 1],
          [2n ** 63n, 512],
          [2n ** 64n - 1n, 1],
        ];
        for (const [offset, length] of ranges) {
          const reply = await client.request({ type: Command.BLOCK_STATUS, offset, length });
          assert.deepEqual([reply.errno, reply.framing], [NbdErrno.EINVAL, framing]);
        }
        assert.deepEqual(await status(client, { offset: SIZE - 512, length: 512 }), [
          [ALLOCATION, 512, HOLE_ZERO],
          [STATE, 512, ABSENT],
        ]);
      });

      test('of nothing is EINVAL; too many runs are cut; a device that covers nothing, or too much, is EIO', async (t) => {
        const device = new Device(64 * MIB);
        const client = await (await startServer(t, device)).attach({ framing, contexts: ['base:allocation'] });
        assert.equal((await client.request({ type: Command.BLOCK_STATUS, length: 0 })).errno, NbdErrno.EINVAL);
        const run = { zero: false, state: 'absent' };
        const runs = Array.from({ length: 100_000 }, (_, i) => ({ ...run, length: 512, hole: i % 2 === 0 }));
        Object.assign(device, { extents: () => runs });
        const [cut] = await status(client, { length: 512 * runs.length });
        assert.equal(cut?.length, 1 + 2 * 32_768);
        for (const wrong of [[], [{ ...run, length: 1024 }], [{ ...run, length: 0 }], undefined]) {
          Object.assign(device, { extents: () => wrong });
          assert.equal((await client.request({ type: Command.BLOCK_STATUS, length: 512 })).errno, NbdErrno.EIO);
        }
        Reflect.deleteProperty(device, 'extents');
        assert.equal((await status(client, { length: 512 })).length, 1);
      });
    });
  }

  describe(`${Device.name}, a request that names its contexts`, () => {
    const attach = async (t: import('node:test').TestContext, contexts = BOTH): Promise<RawClient> =>
      (await startServer(t, new Device(SIZE))).attach({ framing: 'extended', contexts });

    test('is answered in those, whatever was negotiated', async (t) => {
      const client = await attach(t);
      const idsFor = async (ids: number[]): Promise<(number | undefined)[]> =>
        (await status(client, { offset: 4096, payload: queryPayload(MIB, ids) })).map(([id]) => id);
      assert.deepEqual(await idsFor([STATE]), [STATE]);
      assert.deepEqual(await idsFor([ALLOCATION]), [ALLOCATION]);
      assert.deepEqual(await idsFor([STATE, ALLOCATION]), [STATE, ALLOCATION]);
      assert.deepEqual((await status(client, { length: MIB })).map(([id]) => id), [ALLOCATION, STATE]); // biome-ignore format: one line
    });

    test('tells its length in the payload, and keeps to REQ_ONE', async (t) => {
      const client = await attach(t);
      const payload = queryPayload(SIZE, [STATE]);
      assert.deepEqual(await status(client, { payload }), [[STATE, SIZE, ABSENT]]);
      await client.request({ type: Command.WRITE, offset: MIB, payload: Buffer.alloc(MIB, 1) });
      const one = await status(client, { payload, flags: CommandFlag.REQ_ONE });
      assert.equal(one[0]?.length, 3);
    });

    const rows: [string, Buffer][] = [
      ['no context', queryPayload(MIB, [])],
      ['a context that was not negotiated', queryPayload(MIB, [7])],
      ['a context twice', queryPayload(MIB, [STATE, STATE])],
      ['more contexts than there are', queryPayload(MIB, [ALLOCATION, STATE, 3])],
      ['a payload cut within an id', queryPayload(MIB, [STATE]).subarray(0, 11)],
      ['a payload of one byte', Buffer.alloc(1)],
      ['a payload of 1 MiB', Buffer.alloc(MIB)],
      ['no length', queryPayload(0, [STATE])],
      ['a length past the end', queryPayload(SIZE + 1, [STATE])],
      ['a length of 2^64-1', queryPayload(2n ** 64n - 1n, [STATE])],
    ];
    for (const [name, payload] of rows) {
      test(`is EINVAL with ${name}, and the connection is in step`, async (t) => {
        const client = await attach(t);
        const reply = await client.request({ type: Command.BLOCK_STATUS, cookie: 9n, offset: 0, payload });
        assert.equal(reply.errno, NbdErrno.EINVAL);
        assert.equal((await client.request({ type: Command.READ, cookie: 10n, length: 512 })).data.length, 512);
      });
    }

    test('is EINVAL where no context was negotiated at all', async (t) => {
      const client = await attach(t, []);
      const reply = await client.request({ type: Command.BLOCK_STATUS, payload: queryPayload(MIB, [ALLOCATION]) });
      assert.equal(reply.errno, NbdErrno.EINVAL);
    });
  });
}
