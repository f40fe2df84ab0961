/** Every command, and every bad one, with a device that answers at once and one that answers later. */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { describe, test } from 'node:test';
import { StorageError } from '../../../src/lib/errors.ts';
import { Chunk, Command, CommandFlag, NbdErrno } from '../../../src/nbd/constants.ts';
import { LaterMemoryDevice, MemoryDevice } from './memory-device.ts';
import { queryPayload, type RawClient, type Request } from './raw-client.ts';
import { startServer } from './test-server.ts';

const KIB = 1024;
const MIB = 1024 * KIB;
const SIZE = 80 * MIB;

/** Answered, and in step: a read of known bytes returns them. */
async function assertInStep(client: RawClient): Promise<void> {
  const reply = await client.request({ type: Command.READ, cookie: 0xfeedn, offset: 0, length: 16 });
  assert.equal(reply.errno, 0);
  assert.equal(reply.data.length, 16);
}

for (const Device of [MemoryDevice, LaterMemoryDevice]) {
  for (const framing of ['simple', 'structured', 'extended'] as const) {
    describe(`${Device.name}, ${framing} replies`, () => {
      test('what is written is read, small and large, and whole', async (t) => {
        const device = new Device(SIZE);
        const client = await (await startServer(t, device)).attach({ framing });
        let cookie = 1n;
        for (const length of [1, 511, 512, 4096, 5000, 16 * KIB, 16 * KIB + 1, 64 * KIB, 128 * KIB, MIB, 32 * MIB]) {
          const payload = randomBytes(length);
          const offset = length % 977;
          const written = await client.request({ type: Command.WRITE, cookie: ++cookie, offset, payload });
          assert.equal(written.errno, 0);
          assert.ok(device.bytes.subarray(offset, offset + length).equals(payload));
          const read = await client.request({ type: Command.READ, cookie: ++cookie, offset, length });
          assert.equal(read.framing, framing);
          assert.ok(read.data.equals(payload), `${length} bytes`);
        }
      });

      test('the cookie comes back as it was, all 64 bits', async (t) => {
        const client = await (await startServer(t, new Device(MIB))).attach({ framing });
        for (const cookie of [0n, 2n ** 64n - 1n, 0x0123456789abcdefn]) {
          assert.equal((await client.request({ type: Command.READ, cookie, length: 8 })).cookie, cookie);
          assert.equal((await client.request({ type: Command.FLUSH, cookie })).cookie, cookie);
          assert.equal((await client.request({ type: 99, cookie })).cookie, cookie);
        }
      });

      test('many writes in one piece of the stream are each taken', async (t) => {
        const device = new Device(MIB);
        const server = await startServer(t, device);
        const client = await server.attach({ framing });
        const payloads = Array.from({ length: 100 }, () => randomBytes(4096));
        client.socket.cork();
        payloads.forEach((payload, i) => {
          client.send({ type: Command.WRITE, cookie: BigInt(i), offset: i * 4096, payload });
        });
        client.socket.uncork();
        const cookies = new Set<bigint>();
        for (const _ of payloads) cookies.add((await client.reply()).cookie);
        assert.equal(cookies.size, 100);
        assert.ok(device.bytes.subarray(0, 409_600).equals(Buffer.concat(payloads)));
      });

      test('flags and ranges reach the device as they are', async (t) => {
        const device = new Device(SIZE);
        const client = await (await startServer(t, device)).attach({ framing });
        const { FUA, NO_HOLE, FAST_ZERO } = CommandFlag;
        const requests: Request[] = [
          { type: Command.WRITE, flags: FUA, offset: 512, payload: Buffer.alloc(512) },
          { type: Command.WRITE, offset: 512, payload: Buffer.alloc(512) },
          { type: Command.WRITE_ZEROES, offset: 0, length: SIZE },
          { type: Command.WRITE_ZEROES, flags: FUA | NO_HOLE, offset: 4096, length: 4096 },
          { type: Command.WRITE_ZEROES, flags: FAST_ZERO, offset: 4096, length: 4096 },
          { type: Command.TRIM, flags: FUA, offset: 0, length: SIZE },
          { type: Command.TRIM, offset: 1, length: 1 },
          { type: Command.CACHE, offset: 4096, length: SIZE - 4096 },
          { type: Command.FLUSH },
          { type: Command.FLUSH, offset: 12_345, length: 678 },
          { type: Command.READ, flags: FUA, offset: 10, length: 10 },
        ];
        for (const request of requests) assert.equal((await client.request(request)).errno, 0);
        assert.deepEqual(device.calls, [
          'write 512 512 fua',
          'write 512 512',
          `zero 0 ${SIZE} mayTrim`,
          'zero 4096 4096 fua',
          'zero 4096 4096 mayTrim fastOnly',
          `trim 0 ${SIZE} fua`,
          'trim 1 1',
          `prefetch 4096 ${SIZE - 4096}`,
          'flush',
          'flush',
          'read 10 10',
        ]);
      });

      test('a request for nothing succeeds, without the device', async (t) => {
        const device = new Device(MIB);
        const client = await (await startServer(t, device)).attach({ framing });
        for (const type of [Command.READ, Command.WRITE, Command.TRIM, Command.WRITE_ZEROES, Command.CACHE]) {
          const payload = type === Command.WRITE ? { payload: Buffer.alloc(0) } : {};
          const reply = await client.request({ type, offset: 100, length: 0, ...payload });
          assert.equal(reply.errno, 0);
          assert.equal(reply.data.length, 0);
          // Beside structured replies success without data may be simple, which is shorter, but for that of a READ.
          assert.equal(reply.framing, framing === 'structured' && type !== Command.READ ? 'simple' : framing);
        }
        assert.deepEqual(device.calls, []);
      });

      describe('is refused, and the connection stays', () => {
        const { EINVAL, ENOSPC } = NbdErrno;
        const end = { offset: MIB - 512, length: 1024 };
        const rows: [string, Request, number][] = [
          ['READ past the end', { type: Command.READ, ...end }, EINVAL],
          ['TRIM past the end', { type: Command.TRIM, ...end }, EINVAL],
          ['CACHE past the end', { type: Command.CACHE, ...end }, EINVAL],
          ['BLOCK_STATUS past the end', { type: Command.BLOCK_STATUS, ...end }, EINVAL],
          ['READ at 2^64-1', { type: Command.READ, offset: 2n ** 64n - 1n, length: 1 }, EINVAL],
          ['TRIM at 2^64-1', { type: Command.TRIM, offset: 2n ** 64n - 1n, length: 1 }, EINVAL],
          ['TRIM at 2^63', { type: Command.TRIM, offset: 2n ** 63n, length: 1 }, EINVAL],
          ['CACHE at 2^64-1', { type: Command.CACHE, offset: 2n ** 64n - 1n, length: 1 }, EINVAL],
          ['WRITE past the end', { type: Command.WRITE, offset: MIB - 512, payload: Buffer.alloc(1024, 1) }, ENOSPC],
          ['WRITE at 2^64-1', { type: Command.WRITE, offset: 2n ** 64n - 1n, payload: Buffer.alloc(99, 1) }, ENOSPC],
          ['WRITE_ZEROES past the end', { type: Command.WRITE_ZEROES, ...end }, ENOSPC],
          ['WRITE_ZEROES at 2^64-1', { type: Command.WRITE_ZEROES, offset: 2n ** 64n - 1n, length: 1 }, ENOSPC],
          ['an unknown command', { type: 99, offset: 0, length: 4096 }, EINVAL],
          ['RESIZE', { type: 8, offset: 0, length: 4096 }, EINVAL],
          ['an unknown flag on READ', { type: Command.READ, flags: 1 << 9, length: 512 }, EINVAL],
          ['an unknown flag on WRITE', { type: Command.WRITE, flags: 1 << 9, payload: Buffer.alloc(512, 1) }, EINVAL],
          ['an unknown flag on FLUSH', { type: Command.FLUSH, flags: 1 << 9 }, EINVAL],
          ['NO_HOLE on TRIM', { type: Command.TRIM, flags: CommandFlag.NO_HOLE, length: 512 }, EINVAL],
          ['DF on WRITE_ZEROES', { type: Command.WRITE_ZEROES, flags: CommandFlag.DF, length: 512 }, EINVAL],
          ['BLOCK_STATUS without a context', { type: Command.BLOCK_STATUS, length: 512 }, EINVAL],
        ];
        const write = { type: Command.WRITE, payload: Buffer.alloc(512, 1) };
        if (framing === 'simple')
          rows.push(['DF on READ', { type: Command.READ, flags: CommandFlag.DF, length: 512 }, EINVAL]);
        if (framing === 'extended') {
          rows.push(
            ['READ with a payload', { type: Command.READ, payload: Buffer.alloc(512, 1) }, EINVAL],
            ['FLUSH with a payload', { type: Command.FLUSH, payload: Buffer.alloc(512, 1) }, EINVAL],
            ['TRIM with a payload', { type: Command.TRIM, payload: Buffer.alloc(512, 1) }, EINVAL],
            ['BLOCK_STATUS with a payload, no context', { type: 7, payload: queryPayload(512, [1]) }, EINVAL],
            ['an unknown command with a payload', { type: 99, payload: Buffer.alloc(70_000, 1) }, EINVAL],
            ['READ of 2^63 bytes', { type: Command.READ, length: 2n ** 63n }, EINVAL],
            ['TRIM of 2^64-1 bytes', { type: Command.TRIM, length: 2n ** 64n - 1n }, EINVAL],
            ['CACHE of 2^33 bytes', { type: Command.CACHE, length: 2 ** 33 }, EINVAL],
            ['WRITE_ZEROES of 2^53+1 bytes', { type: Command.WRITE_ZEROES, length: 2n ** 53n + 1n }, ENOSPC],
          );
        } else {
          rows.push(
            ['PAYLOAD_LEN on WRITE', { ...write, flags: CommandFlag.PAYLOAD_LEN }, EINVAL],
            [
              'PAYLOAD_LEN on READ, which brings no payload',
              { type: Command.READ, flags: CommandFlag.PAYLOAD_LEN },
              EINVAL,
            ],
          );
        }
        for (const [name, request, errno] of rows) {
          test(name, async (t) => {
            const device = new Device(MIB);
            const client = await (await startServer(t, device)).attach({ framing });
            const reply = await client.request(request);
            assert.equal(reply.errno, errno);
            assert.equal(reply.framing, framing);
            assert.equal(reply.text !== '', framing !== 'simple');
            await assertInStep(client);
            assert.deepEqual(device.calls, ['read 0 16']);
          });
        }

        test('READ over the maximum', async (t) => {
          const client = await (await startServer(t, new Device(SIZE))).attach({ framing });
          assert.equal((await client.request({ type: Command.READ, length: 32 * MIB + 1 })).errno, EINVAL);
          await assertInStep(client);
        });

        test("READ and WRITE over the device's own maximum", async (t) => {
          const device = new Device(SIZE, { blockSizeMaxBytes: 64 * KIB });
          const client = await (await startServer(t, device)).attach({ framing });
          const payload = Buffer.alloc(64 * KIB + 1, 1);
          assert.equal((await client.request({ type: Command.READ, length: payload.length })).errno, EINVAL);
          assert.equal((await client.request({ type: Command.WRITE, payload })).errno, EINVAL);
          await assertInStep(client);
        });

        test('WRITE over the maximum, to 64 MiB', async (t) => {
          const device = new Device(SIZE);
          const client = await (await startServer(t, device)).attach({ framing });
          for (const length of [32 * MIB + 1, 64 * MIB]) {
            assert.equal(
              (await client.request({ type: Command.WRITE, payload: Buffer.alloc(length, 1) })).errno,
              EINVAL,
            );
          }
          await assertInStep(client);
          assert.equal(device.bytes[0], 0);
        });

        test('every change of a read-only export', async (t) => {
          const device = new Device(MIB, { readOnly: true });
          const client = await (await startServer(t, device)).attach({ framing });
          const changes: Request[] = [
            { type: Command.WRITE, payload: Buffer.alloc(100_000, 1) },
            { type: Command.WRITE, payload: Buffer.alloc(0) },
            { type: Command.WRITE_ZEROES, length: 4096 },
            { type: Command.TRIM, length: 4096 },
          ];
          for (const change of changes) assert.equal((await client.request(change)).errno, NbdErrno.EPERM);
          assert.equal((await client.request({ type: Command.FLUSH })).errno, 0);
          await assertInStep(client);
          assert.deepEqual(device.calls, ['flush', 'read 0 16']);
        });
      });

      test("a device's errors become the protocol's, and the connection stays", async (t) => {
        const device = new Device(MIB);
        const client = await (await startServer(t, device)).attach({ framing });
        const failures: [Error, number][] = [
          [new StorageError('NO_SPACE', 'the cache is full'), NbdErrno.ENOSPC],
          [new StorageError('CANCELLED', 'stopping'), NbdErrno.ESHUTDOWN],
          [new StorageError('FENCED', 'taken over'), NbdErrno.ESHUTDOWN],
          [new StorageError('UNSUPPORTED', 'not fast'), NbdErrno.ENOTSUP],
          [new StorageError('CORRUPT', 'block 7 does not pass its check'), NbdErrno.EIO],
          [new TypeError('secret internals'), NbdErrno.EIO],
        ];
        for (const [error, errno] of failures) {
          const fail = Device === MemoryDevice ? () => { throw error; } : () => Promise.reject(error); // biome-ignore format: one line
          const failing = { read: fail, write: fail, zero: fail, trim: fail, flush: fail, prefetch: fail };
          Object.assign(device, failing);
          const requests: Request[] = [
            { type: Command.READ, length: 4096 },
            { type: Command.WRITE, payload: Buffer.alloc(4096, 1) },
            { type: Command.WRITE_ZEROES, flags: CommandFlag.FAST_ZERO, length: 4096 },
            { type: Command.TRIM, length: 4096 },
            { type: Command.FLUSH },
            { type: Command.CACHE, length: 4096 },
          ];
          for (const request of requests) {
            const reply = await client.request(request);
            assert.equal(reply.errno, errno);
            if (framing !== 'simple')
              assert.equal(reply.text, error instanceof StorageError ? error.message : 'internal error');
          }
          for (const method of Object.keys(failing)) Reflect.deleteProperty(device, method);
          await assertInStep(client);
        }
      });

      test('a device that returns too few bytes is an error, not data', async (t) => {
        const device = new Device(MIB);
        const client = await (await startServer(t, device)).attach({ framing });
        Object.assign(device, { read: () => Buffer.alloc(511, 1) });
        assert.equal((await client.request({ type: Command.READ, length: 512 })).errno, NbdErrno.EIO);
      });

      for (const [name, bytes] of [
        ['a bad magic', { type: Command.READ, length: 16, magic: 0x25609514 }],
        [
          'a WRITE of over 64 MiB',
          { type: Command.WRITE, flags: framing === 'extended' ? CommandFlag.PAYLOAD_LEN : 0, length: 64 * MIB + 1 },
        ],
      ] as const) {
        test(`${name} closes the connection, after what was under way is answered`, async (t) => {
          const client = await (await startServer(t, new Device(MIB))).attach({ framing });
          client.send({ type: Command.FLUSH, cookie: 5n });
          client.send(bytes);
          assert.equal((await client.reply()).cookie, 5n);
          assert.equal((await client.untilClosed()).length, 0);
        });
      }

      test('DISC closes after everything has been answered', async (t) => {
        const device = new Device(MIB);
        const client = await (await startServer(t, device)).attach({ framing });
        const payload = randomBytes(256 * KIB);
        client.send({ type: Command.WRITE, cookie: 1n, payload });
        client.send({ type: Command.READ, cookie: 2n, offset: 512 * KIB, length: 256 * KIB });
        client.send({ type: Command.DISC, cookie: 3n });
        client.send({ type: Command.READ, cookie: 4n, length: 16 });
        const replies = [await client.reply(() => 0), await client.reply(() => 256 * KIB)];
        assert.deepEqual(replies.map(({ cookie, errno }) => [cookie, errno]), [[1n, 0], [2n, 0]]); // biome-ignore format: pairs
        assert.equal((await client.untilClosed()).length, 0);
        assert.ok(device.bytes.subarray(0, 256 * KIB).equals(payload));
      });
    });
  }

  describe(`${Device.name}, what only structured replies have`, () => {
    test('a read of zeros is a hole, also where it must not be fragmented; data is one chunk', async (t) => {
      const device = new Device(SIZE);
      const client = await (await startServer(t, device)).attach();
      device.bytes.fill(7, 4 * MIB, 5 * MIB);
      for (const flags of [0, CommandFlag.DF]) {
        const hole = await client.request({ type: Command.READ, flags, offset: 4096, length: MIB });
        assert.deepEqual(hole.chunks.map(({ type }) => type), [Chunk.OFFSET_HOLE]); // biome-ignore format: one line
        assert.equal(hole.chunks[0]?.data.readBigUInt64BE(), 4096n);
        assert.equal(hole.chunks[0]?.data.readUInt32BE(8), MIB);
        const mixed = await client.request({ type: Command.READ, flags, offset: 3 * MIB, length: 3 * MIB });
        assert.deepEqual(mixed.chunks.map(({ type }) => type), [Chunk.OFFSET_DATA]); // biome-ignore format: one line
        assert.ok(mixed.data.equals(device.bytes.subarray(3 * MIB, 6 * MIB)));
      }
    });

    test('one byte that is not zero makes it data, wherever it is', async (t) => {
      const device = new Device(MIB);
      const client = await (await startServer(t, device)).attach();
      for (const at of [0, 1, 2048, 4094, 4095]) {
        device.bytes.fill(0);
        device.bytes[at] = 1;
        const reply = await client.request({ type: Command.READ, length: 4096 });
        assert.deepEqual(reply.chunks.map(({ type }) => type), [Chunk.OFFSET_DATA]); // biome-ignore format: one line
        assert.ok(reply.data.equals(device.bytes.subarray(0, 4096)));
      }
    });
  });
}
