/** What every BlockDevice must do: run on each implementation. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { BlockDevice } from '../../../src/volume/block-device.ts';
import { rejectsWith } from '../object-store/suite.ts';

export interface DeviceUnderTest {
  /** Of `DEVICE_BYTES` zeros. */
  readonly device: BlockDevice;
  /** What somebody who opens the volume next reads of it: only what is durable. */
  readonly durable: (offset: number, length: number) => Promise<Buffer>;
  /** The same volume, read-only. */
  readonly readOnly: () => Promise<BlockDevice>;
  readonly close: () => Promise<void>;
}

export const DEVICE_BYTES = 48 * 4096;
const PLAIN = { fua: false };
const ZERO = { fua: false, mayTrim: true, fastOnly: false };

function pattern(length: number, seed: number): Buffer {
  return Buffer.from(Array.from({ length }, (_, i) => ((seed * 29 + i * 11) % 255) + 1));
}

export function blockDeviceSuite(name: string, setUp: () => Promise<DeviceUnderTest>): void {
  const it = (what: string, body: (device: BlockDevice, under: DeviceUnderTest) => Promise<void>): void => {
    test(what, async () => {
      const under = await setUp();
      try {
        await body(under.device, under);
      } finally {
        await under.device.close();
        await under.close();
      }
    });
  };

  describe(`block device: ${name}`, () => {
    it('its geometry is one that clients can use', async (device) => {
      const { sizeBytes, blockSizeMinBytes, blockSizePreferredBytes, blockSizeMaxBytes, readOnly } = device.geometry;
      assert.equal(sizeBytes, DEVICE_BYTES);
      assert.equal(readOnly, false);
      for (const bytes of [blockSizeMinBytes, blockSizePreferredBytes, blockSizeMaxBytes])
        assert.ok(Number.isInteger(bytes));
      assert.ok(blockSizeMinBytes >= 1 && blockSizeMinBytes <= 65536);
      assert.ok(blockSizePreferredBytes >= Math.max(512, blockSizeMinBytes));
      assert.ok(blockSizeMaxBytes >= blockSizePreferredBytes);
    });

    it('reads what was written, at any alignment, whatever overlaps, in the order made', async (device, {
      durable,
    }) => {
      const image = Buffer.alloc(DEVICE_BYTES);
      const all: Promise<unknown>[] = [];
      for (let i = 0; i < 120; i++) {
        const offset = (i * 3571) % (DEVICE_BYTES - 20_000);
        const length = 1 + ((i * 997) % 20_000);
        if (i % 4 === 3) {
          const expected = Buffer.from(image.subarray(offset, offset + length));
          const read = Promise.resolve(device.read(offset, length));
          all.push(read.then((bytes) => assert.ok(bytes.equals(expected), `request ${i}`)));
        } else if (i % 5 === 0) {
          all.push(Promise.resolve(device.zero(offset, length, ZERO)));
          image.fill(0, offset, offset + length);
        } else if (i % 7 === 0) {
          all.push(Promise.resolve(device.trim(offset, length, PLAIN)));
          image.fill(0, offset, offset + length);
        } else {
          const data = pattern(length, i);
          all.push(Promise.resolve(device.write(offset, data, PLAIN)));
          data.copy(image, offset);
        }
      }
      await Promise.all(all);
      assert.ok((await device.read(0, DEVICE_BYTES)).equals(image));
      await device.flush();
      assert.ok((await durable(0, DEVICE_BYTES)).equals(image));
    });

    it('a flush makes durable what was asked for before it, answered or not', async (device, { durable }) => {
      const writing = [device.write(5000, pattern(9000, 1), PLAIN), device.write(40_000, pattern(10, 2), PLAIN)];
      await device.flush();
      assert.deepEqual(await durable(5000, 9000), pattern(9000, 1));
      assert.deepEqual(await durable(40_000, 10), pattern(10, 2));
      await Promise.all(writing);
    });

    it('a write, zero or trim with FUA is durable once it is answered', async (device, { durable }) => {
      await device.write(100, pattern(5000, 1), { fua: true });
      assert.deepEqual(await durable(100, 5000), pattern(5000, 1));
      await device.zero(100, 10, { ...ZERO, fua: true });
      await device.trim(4000, 200, { fua: true });
      assert.deepEqual(await durable(100, 10), Buffer.alloc(10));
      assert.deepEqual(await durable(4000, 200), Buffer.alloc(200));
      assert.deepEqual(await durable(110, 10), pattern(5000, 1).subarray(10, 20));
    });

    it("a buffer is its owner's again once the write is answered", async (device) => {
      const data = pattern(10_000, 1);
      await device.write(3, data, PLAIN);
      data.fill(0xee);
      assert.deepEqual(await device.read(3, 10_000), pattern(10_000, 1));
    });

    it('zeroing leaves zeros, also where it may not trim', async (device, { durable }) => {
      await device.write(0, pattern(DEVICE_BYTES, 1), PLAIN);
      for (const mayTrim of [true, false]) {
        const offset = mayTrim ? 1000 : 70_001;
        await device.zero(offset, 50_000, { fua: true, mayTrim, fastOnly: false });
        assert.deepEqual(
          await device.read(offset - 1, 50_002),
          Buffer.concat([
            pattern(DEVICE_BYTES, 1).subarray(offset - 1, offset),
            Buffer.alloc(50_000),
            pattern(DEVICE_BYTES, 1).subarray(offset + 50_000, offset + 50_001),
          ]),
        );
        assert.deepEqual(await durable(offset, 50_000), Buffer.alloc(50_000));
      }
    });

    it('fast zeroing either zeroes or refuses and changes nothing', async (device) => {
      await device.write(0, pattern(DEVICE_BYTES, 1), PLAIN);
      for (const [offset, length] of [
        [0, DEVICE_BYTES / 2],
        [DEVICE_BYTES / 2 + 7, 100],
      ] as const) {
        const before = Buffer.from(await device.read(offset, length));
        let expected = Buffer.alloc(length);
        try {
          await device.zero(offset, length, { fua: false, mayTrim: true, fastOnly: true });
        } catch (error) {
          rejectsWith('UNSUPPORTED')(error);
          expected = before;
        }
        assert.deepEqual(await device.read(offset, length), expected);
      }
    });

    it('extents cover what was asked for, and what is told to be zeros is', async (device) => {
      await device.write(8192, pattern(4096, 1), PLAIN);
      for (const [offset, length] of [
        [0, DEVICE_BYTES],
        [1, 1],
        [8191, 4098],
      ] as const) {
        let at = offset;
        for (const { length: run, hole, zero, state } of await device.extents(offset, length)) {
          assert.ok(run > 0);
          assert.ok(['absent', 'clean', 'dirty'].includes(state));
          assert.ok(!hole || zero, 'a hole of this device reads as zeros');
          if (zero) assert.ok((await device.read(at, run)).every((byte) => byte === 0));
          at += run;
        }
        assert.equal(at, offset + length);
      }
    });

    it('of more extents than asked for only the first are told', async (device) => {
      for (const page of [1, 5, 9, 20]) await device.write(page * 4096, pattern(4096, 1), PLAIN);
      const all = await device.extents(0, DEVICE_BYTES);
      assert.ok(all.length >= 1);
      for (let count = 1; count <= all.length + 1; count++) {
        assert.deepEqual(await device.extents(0, DEVICE_BYTES, count), all.slice(0, count));
      }
    });

    it('requests for nothing, and hints, do nothing', async (device) => {
      assert.equal((await device.read(10, 0)).length, 0);
      await device.write(10, Buffer.alloc(0), PLAIN);
      await device.zero(10, 0, ZERO);
      await device.trim(10, 0, PLAIN);
      assert.deepEqual(await device.extents(10, 0), []);
      await device.prefetch(0, DEVICE_BYTES);
      assert.deepEqual(await device.read(0, 20), Buffer.alloc(20));
    });

    it('nothing past the end is read or written', async (device) => {
      const past = [DEVICE_BYTES - 1, 2] as const;
      await assert.rejects(async () => device.read(...past), rejectsWith('INVALID'));
      await assert.rejects(async () => device.extents(...past), rejectsWith('INVALID'));
      await assert.rejects(async () => device.write(past[0], Buffer.alloc(2, 1), PLAIN), rejectsWith('NO_SPACE'));
      await assert.rejects(async () => device.zero(...past, ZERO), rejectsWith('NO_SPACE'));
      await assert.rejects(async () => device.trim(...past, PLAIN), rejectsWith('NO_SPACE'));
      assert.deepEqual(await device.read(DEVICE_BYTES - 1, 1), Buffer.alloc(1));
    });

    it('read-only, it reads and refuses everything else', async (device, { readOnly }) => {
      await device.write(0, pattern(100, 1), { fua: true });
      const reader = await readOnly();
      const refused = rejectsWith('READ_ONLY');
      assert.equal(reader.geometry.readOnly, true);
      assert.deepEqual(await reader.read(0, 100), pattern(100, 1));
      await assert.rejects(async () => reader.write(0, pattern(1, 2), PLAIN), refused);
      await assert.rejects(async () => reader.zero(0, 1, ZERO), refused);
      await assert.rejects(async () => reader.trim(0, 1, PLAIN), refused);
      await reader.flush();
      assert.deepEqual(await reader.read(0, 100), pattern(100, 1));
      await reader.close();
    });

    test('closing finishes what was asked for, and ends the rest', async () => {
      const under = await setUp();
      const { device, durable } = under;
      const writing = [device.write(0, pattern(30_000, 1), PLAIN), device.trim(10_000, 10_000, PLAIN)];
      const reading = device.read(0, 10_000);
      await device.close();
      await Promise.all(writing);
      assert.deepEqual(await reading, pattern(30_000, 1).subarray(0, 10_000));
      const expected = pattern(30_000, 1).fill(0, 10_000, 20_000);
      assert.deepEqual(await durable(0, 30_000), expected);
      await assert.rejects(async () => device.write(0, pattern(1, 2), PLAIN), rejectsWith('CANCELLED'));
      await assert.rejects(async () => device.read(0, 1), rejectsWith('CANCELLED'));
      await under.close();
    });
  });
}
