/** A FUSE session: the kernel's bytes in, the bytes it gets back out. */
import assert from 'node:assert/strict';
import { randomFillSync } from 'node:crypto';
import { describe, test } from 'node:test';
import { Errno } from '../../../src/fuse/constants.ts';
import { StorageError } from '../../../src/lib/errors.ts';
import { HeldMemoryDevice, LaterMemoryDevice, MemoryDevice } from '../../conformance/nbd/memory-device.ts';
import { settle, VirtualClock } from '../../support/virtual-clock.ts';
import { FakeKernel, pack, type Reply, transfer, u32, u64 } from './fake-kernel.ts';

const SIZE = 1024 * 1024;

const READ = 15;
const WRITE = 16;
const FLUSH = 25;
const FSYNC = 20;
const FALLOCATE = 43;
const LSEEK = 46;
const INTERRUPT = 36;

const closing = (): Buffer => pack(u64(0), u32(0), u32(0), u64(0));
const fallocate = (offset: number, length: number, mode: number): Buffer =>
  pack(u64(0), u64(offset), u64(length), u32(mode), u32(0));
const seek = (offset: number, whence: number): Buffer => pack(u64(0), u64(offset), u32(whence), u32(0));
const write = (offset: number | bigint, data: Buffer, openFlags = 1): Buffer =>
  Buffer.concat([transfer(offset, data.length, openFlags), data]);

/** A kernel with one file, `media`. */
function withFile(device = new MemoryDevice(SIZE)): { kernel: FakeKernel; device: MemoryDevice; node: number } {
  const kernel = new FakeKernel({ media: device });
  return { kernel, device, node: kernel.lookup('media') };
}

describe('the greeting', () => {
  test('agrees on what both can', () => {
    const kernel = new FakeKernel({}, { greet: false });
    const reply = kernel.call(26, 0, pack(u32(7), u32(31), u32(4096), u32((1 << 22) | (1 << 15) | 1 | 2)));
    assert.equal(reply.errno, 0);
    assert.equal(reply.body.length, 64);
    assert.deepEqual([reply.body.readUInt32LE(0), reply.body.readUInt32LE(4)], [7, 31]);
    assert.equal(reply.body.readUInt32LE(8), 4096, 'read-ahead as the kernel has it');
    assert.equal(
      reply.body.readUInt32LE(12),
      (1 << 22) | (1 << 15) | 1,
      'no flag that was not offered or is not known',
    );
    assert.equal(reply.body.readUInt32LE(20), 1024 * 1024, 'writes of 1 MiB');
    assert.equal(reply.body.readUInt16LE(28), 256, 'pages of a request');
    assert.equal(kernel.negotiated, null);
  });

  test('refuses a kernel that is too old, and says so', () => {
    const kernel = new FakeKernel({}, { greet: false });
    assert.equal(kernel.call(26, 0, pack(u32(7), u32(30), u32(0), u32(0))).errno, Errno.EPROTO);
    assert.match(kernel.negotiated?.message ?? '', /FUSE 7\.30.*Linux 5\.4/);
  });

  test('answers a later major version with its own, and is asked again', () => {
    const kernel = new FakeKernel({}, { greet: false });
    assert.equal(kernel.call(26, 0, pack(u32(8), u32(0), u32(0), u32(0))).body.readUInt32LE(0), 7);
    assert.equal(kernel.negotiated, undefined);
    assert.equal(kernel.call(26, 0, pack(u32(7), u32(40), u32(0), u32(0))).errno, 0);
    assert.equal(kernel.negotiated, null);
  });

  test('comes first, and once', () => {
    const kernel = new FakeKernel({}, { greet: false });
    assert.equal(kernel.call(17, 1).errno, Errno.EPROTO);
    kernel.call(26, 0, pack(u32(7), u32(31), u32(0), u32(0)));
    assert.equal(kernel.call(17, 1).errno, 0);
    assert.equal(kernel.call(26, 0, pack(u32(7), u32(31), u32(0), u32(0))).errno, Errno.EPROTO);
  });
});

/** The fields of fuse_attr. */
function attributes(body: Buffer, at: number) {
  return {
    node: Number(body.readBigUInt64LE(at)),
    size: Number(body.readBigUInt64LE(at + 8)),
    blocks: Number(body.readBigUInt64LE(at + 16)),
    mtime: Number(body.readBigUInt64LE(at + 32)),
    mode: body.readUInt32LE(at + 60),
    links: body.readUInt32LE(at + 64),
    uid: body.readUInt32LE(at + 68),
    gid: body.readUInt32LE(at + 72),
    blksize: body.readUInt32LE(at + 80),
  };
}

/** The entries of a READDIR reply. */
function entries(body: Buffer, plus: boolean): { name: string; type: number; next: number; ino: number }[] {
  const found = [];
  for (let at = 0; at < body.length; ) {
    if (plus) at += 128;
    const length = body.readUInt32LE(at + 16);
    found.push({
      name: body.toString('utf8', at + 24, at + 24 + length),
      type: body.readUInt32LE(at + 20),
      next: Number(body.readBigUInt64LE(at + 8)),
      ino: Number(body.readBigUInt64LE(at)),
    });
    at += 24 + Math.ceil(length / 8) * 8;
  }
  return found;
}

describe('the directory', () => {
  test('has a file for each volume', () => {
    const kernel = new FakeKernel({
      media: new MemoryDevice(SIZE),
      old: new MemoryDevice(2 * SIZE, { readOnly: true }),
    });
    const { body, errno } = kernel.call(1, 1, Buffer.from('media\0'));
    assert.equal(errno, 0);
    assert.equal(body.length, 128);
    assert.equal(Number(body.readBigUInt64LE(16)), 1, 'names are good for a second');
    const file = attributes(body, 40);
    const expected = { node: 2, size: SIZE, blocks: SIZE / 512 - 1, mode: 0o100600, links: 1, uid: 7, gid: 8 };
    assert.deepEqual({ ...file, mtime: 0, blksize: 0 }, { ...expected, mtime: 0, blksize: 0 });
    assert.equal(attributes(kernel.call(1, 1, Buffer.from('old\0')).body, 40).mode, 0o100400);
    assert.equal(kernel.call(1, 1, Buffer.from('nope\0')).errno, Errno.ENOENT);
    assert.equal(kernel.call(1, 1, Buffer.from([0xff, 0xfe, 0])).errno, Errno.ENOENT);
    assert.equal(kernel.call(1, 2, Buffer.from('media\0')).errno, Errno.ENOTDIR);
    const root = attributes(kernel.call(3, 1, Buffer.alloc(16)).body, 16);
    assert.equal(root.mode, 0o40755);
  });

  for (const plus of [false, true]) {
    test(`is listed${plus ? ', with attributes' : ''}, in pieces too`, () => {
      const names = ['a', 'media', 'a-name-of-thirty-two-characters-'];
      const kernel = new FakeKernel(Object.fromEntries(names.map((name) => [name, new MemoryDevice(SIZE)])));
      assert.equal(kernel.call(27, 1, Buffer.alloc(8)).errno, 0);
      const opcode = plus ? 44 : 28;
      const all = entries(kernel.call(opcode, 1, transfer(0, 4096)).body, plus);
      assert.deepEqual(
        all.map(({ name, type }) => [name, type]),
        [['.', 4], ['..', 4], ...names.map((name) => [name, 8])],
      );
      const piecewise = [];
      for (let offset = 0; ; ) {
        const some = entries(kernel.call(opcode, 1, transfer(offset, 200)).body, plus);
        if (some.length === 0) break;
        piecewise.push(...some);
        offset = some.at(-1)?.next ?? 0;
      }
      assert.deepEqual(piecewise, all);
      assert.equal(all[3]?.ino, kernel.lookup('media'));
      assert.equal(kernel.call(opcode, 2, transfer(0, 4096)).errno, Errno.ENOTDIR);
      assert.equal(kernel.call(opcode, 1, transfer(2n ** 60n, 4096)).body.length, 0);
    });
  }

  test('shows what has come, and forgets what has gone', () => {
    const { kernel, node } = withFile();
    kernel.devices.set('new', new MemoryDevice(SIZE));
    assert.notEqual(kernel.lookup('new'), node);
    kernel.devices.delete('media');
    assert.equal(kernel.call(1, 1, Buffer.from('media\0')).errno, Errno.ENOENT);
    assert.equal(kernel.call(3, node, Buffer.alloc(16)).errno, Errno.ESTALE);
    assert.equal(kernel.call(READ, node, transfer(0, 512)).errno, Errno.ESTALE);
    kernel.devices.set('media', new MemoryDevice(SIZE));
    assert.equal(kernel.lookup('media'), node, 'a name keeps its number');
  });

  test('cannot be changed', () => {
    const { kernel } = withFile();
    for (const opcode of [6, 8, 9, 10, 11, 12, 13, 35, 45]) {
      assert.equal(kernel.call(opcode, 1, Buffer.from('x\0')).errno, Errno.EPERM, `opcode ${opcode}`);
    }
  });

  test('tells its size', () => {
    const { kernel } = withFile();
    const { body } = kernel.call(17, 1);
    assert.equal(body.length, 80);
    assert.equal(Number(body.readBigUInt64LE(0)) * body.readUInt32LE(40), SIZE);
    assert.equal(Number(body.readBigUInt64LE(8)), 0, 'nothing is free');
    assert.equal(body.readUInt32LE(44), 255);
  });

  test('opcodes that nobody knows are not implemented', () => {
    const { kernel, node } = withFile();
    for (const opcode of [5, 21, 22, 23, 31, 37, 39, 40, 47, 50, 52, 4096, 2 ** 32 - 1]) {
      assert.equal(kernel.call(opcode, node, Buffer.alloc(64)).errno, Errno.ENOSYS, `opcode ${opcode}`);
    }
  });

  test('what has no reply gets none', () => {
    const { kernel, node } = withFile();
    const before = kernel.replies.length;
    kernel.request(2, node, pack(u64(1)));
    kernel.request(42, 0, pack(u32(1), u32(0), u64(node), u64(1)));
    kernel.request(INTERRUPT, 0, pack(u64(12345)));
    assert.equal(kernel.replies.length, before);
    assert.equal(kernel.call(38, 0).errno, 0, 'DESTROY has one');
  });
});

describe('a file', () => {
  test('is opened past the page cache, by many writers at once', () => {
    const { kernel, node } = withFile();
    const opened = kernel.call(14, node, pack(u32(2), u32(0)));
    assert.equal(opened.body.readUInt32LE(8), 1 | (1 << 6));
    const forReading = kernel.call(14, node, pack(u32(0), u32(0)));
    assert.equal(forReading.body.readUInt32LE(8), 1 | (1 << 5) | (1 << 6), 'a reader has nothing to flush');
    assert.equal(kernel.call(14, 1, pack(u32(0), u32(0))).errno, Errno.EISDIR);
    assert.equal(kernel.call(14, 99, pack(u32(0), u32(0))).errno, Errno.ESTALE);
    assert.equal(kernel.call(18, node, Buffer.alloc(24)).errno, 0);
  });

  test('that is read-only is not opened for writing, nor written', () => {
    const { kernel, node } = withFile(new MemoryDevice(SIZE, { readOnly: true }));
    assert.equal(kernel.call(14, node, pack(u32(1), u32(0))).errno, Errno.EROFS);
    assert.equal(kernel.call(14, node, pack(u32(0), u32(0))).errno, 0);
    assert.equal(kernel.call(WRITE, node, write(0, Buffer.alloc(10))).errno, Errno.EROFS);
    assert.equal(kernel.call(FALLOCATE, node, fallocate(0, 10, 3)).errno, Errno.EROFS);
    assert.equal(kernel.call(34, node, pack(u32(2), u32(0))).errno, Errno.EROFS);
    assert.equal(kernel.call(34, node, pack(u32(4), u32(0))).errno, 0);
  });

  test('that is closed is not opened at all, and is still there to be looked at; who has it open has it', () => {
    const { kernel, node } = withFile();
    assert.equal(kernel.call(14, node, pack(u32(2), u32(0))).errno, 0);
    kernel.closed.set('media', 'it is being made smaller');
    for (const access of [0, 1, 2])
      assert.equal(kernel.call(14, node, pack(u32(access), u32(0))).errno, Errno.EBUSY, `${access}`);
    assert.equal(kernel.session.openFiles('media'), 1);
    assert.equal(kernel.lookup('media'), node);
    assert.equal(kernel.call(WRITE, node, write(0, Buffer.alloc(10))).errno, 0);
    assert.equal(kernel.call(18, node, Buffer.alloc(24)).errno, 0);
    kernel.closed.clear();
    assert.equal(kernel.call(14, node, pack(u32(2), u32(0))).errno, 0);
  });

  test('keeps its size, mode and owner', () => {
    const { kernel, node } = withFile();
    const set = (valid: number, size: number, mode = 0, uid = 0, gid = 0): Reply =>
      kernel.call(
        4,
        node,
        pack(u32(valid), u32(0), u64(0), u64(size), Buffer.alloc(44), u32(mode), u32(0), u32(uid), u32(gid), u32(0)),
      );
    assert.equal(set(1 << 3, 0).errno, Errno.EPERM);
    assert.equal(set(1 << 3, SIZE + 1).errno, Errno.EPERM);
    assert.equal(set(1 << 3, SIZE).errno, 0, 'to what it is');
    assert.equal(set(1, 0, 0o100644).errno, Errno.EPERM);
    assert.equal(set(1, 0, 0o100600).errno, 0);
    assert.equal(set(2, 0, 0, 0).errno, Errno.EPERM);
    assert.equal(set(4, 0, 0, 0, 8).errno, 0);
    assert.equal(set((1 << 4) | (1 << 5), 0).errno, 0, 'times may be set');
    assert.equal(kernel.call(4, 1, Buffer.alloc(88)).errno, 0);
  });

  test('changes its time when it is written', async () => {
    const clock = new VirtualClock();
    const kernel = new FakeKernel({ media: new MemoryDevice(SIZE) }, { clock });
    const node = kernel.lookup('media');
    const mtime = (): number => attributes(kernel.call(3, node, Buffer.alloc(16)).body, 16).mtime;
    const before = mtime();
    await clock.advance(100_000);
    assert.equal(mtime(), before);
    kernel.call(WRITE, node, write(0, Buffer.alloc(10)));
    assert.equal(mtime(), before + 100);
    await clock.advance(100_000);
    assert.equal(mtime(), before + 100);
  });
});

for (const [kind, makeDevice] of [
  ['at once', () => new MemoryDevice(SIZE)],
  ['later', () => new LaterMemoryDevice(SIZE)],
] as const) {
  describe(`bytes of a device that answers ${kind}`, () => {
    test('are read and written at any alignment', async () => {
      const { kernel, node, device } = withFile(makeDevice());
      for (const [offset, length] of [
        [0, 1],
        [511, 2],
        [4095, 4098],
        [SIZE - 1, 1],
        [1, SIZE - 1],
        [0, SIZE],
      ] as const) {
        const data = Buffer.alloc(length, (offset + length) & 0xff || 1);
        const written = await kernel.callLater(WRITE, node, write(offset, data));
        assert.equal(written.errno, 0);
        assert.equal(written.body.readUInt32LE(0), length);
        assert.deepEqual(device.bytes.subarray(offset, offset + length), data);
        assert.deepEqual((await kernel.callLater(READ, node, transfer(offset, length))).body, data);
      }
    });

    test('end at the end', async () => {
      const { kernel, node, device } = withFile(makeDevice());
      device.bytes.fill(1);
      assert.equal((await kernel.callLater(READ, node, transfer(SIZE - 10, 100))).body.length, 10);
      for (const offset of [SIZE, SIZE + 1, 2n ** 53n + 1n, 2n ** 63n]) {
        const reply = await kernel.callLater(READ, node, transfer(offset, 100));
        assert.deepEqual([reply.errno, reply.body.length], [0, 0]);
        assert.equal((await kernel.callLater(WRITE, node, write(offset, Buffer.alloc(1)))).errno, Errno.ENOSPC);
      }
      const short = await kernel.callLater(WRITE, node, write(SIZE - 4, Buffer.alloc(100, 2)));
      assert.equal(short.body.readUInt32LE(0), 4, 'what goes over the end is cut off');
      assert.deepEqual([...device.bytes.subarray(-5)], [1, 2, 2, 2, 2]);
      assert.equal((await kernel.callLater(WRITE, node, write(0, Buffer.alloc(0)))).errno, 0);
      assert.equal((await kernel.callLater(READ, node, transfer(0, 0))).body.length, 0);
    });

    test('are flushed by fsync, fdatasync and close, and with each write where asked', async () => {
      const { kernel, node, device } = withFile(makeDevice());
      assert.equal((await kernel.callLater(FSYNC, node, pack(u64(0), u32(0), u32(0)))).errno, 0);
      assert.equal((await kernel.callLater(FSYNC, node, pack(u64(0), u32(1), u32(0)))).errno, 0);
      assert.equal((await kernel.callLater(FLUSH, node, closing())).errno, 0);
      assert.deepEqual(device.calls, ['flush', 'flush', 'flush']);
      device.calls.length = 0;
      await kernel.callLater(WRITE, node, write(0, Buffer.alloc(1), 0o10001));
      await kernel.callLater(WRITE, node, write(0, Buffer.alloc(1), 0o4010001));
      await kernel.callLater(WRITE, node, write(0, Buffer.alloc(1), 0o40001));
      assert.deepEqual(device.calls, ['write 0 1 fua', 'write 0 1 fua', 'write 0 1']);
    });

    test('are zeroed by punching holes and zeroing ranges', async () => {
      const { kernel, node, device } = withFile(makeDevice());
      device.bytes.fill(1);
      assert.equal((await kernel.callLater(FALLOCATE, node, fallocate(5000, 10_000, 3))).errno, 0);
      assert.ok(device.bytes.subarray(5000, 15_000).every((byte) => byte === 0));
      assert.equal((await kernel.callLater(FALLOCATE, node, fallocate(50_000, 7, 0x10))).errno, 0);
      assert.equal((await kernel.callLater(FALLOCATE, node, fallocate(SIZE - 1, 10, 0x11))).errno, 0);
      assert.deepEqual(device.calls, ['zero 5000 10000 mayTrim', 'zero 50000 7', `zero ${SIZE - 1} 1`]);
      assert.equal((await kernel.callLater(FALLOCATE, node, fallocate(SIZE, 10, 3))).errno, 0, 'nothing to do');
      assert.equal((await kernel.callLater(FALLOCATE, node, fallocate(SIZE - 1, 10, 0x10))).errno, Errno.ENOSPC);
      for (const mode of [0, 1, 2, 0x08, 0x13, 0x20, 0x40, 0x80]) {
        const { errno } = await kernel.callLater(FALLOCATE, node, fallocate(0, 10, mode));
        assert.equal(errno, Errno.EOPNOTSUPP, `mode ${mode}`);
      }
    });

    test('tell where data is, and where none', async () => {
      const { kernel, node } = withFile(makeDevice());
      await kernel.callLater(WRITE, node, write(40_960, Buffer.alloc(8192, 1)));
      const at = async (offset: number, whence: number): Promise<number> => {
        const { errno, body } = await kernel.callLater(LSEEK, node, seek(offset, whence));
        return errno === 0 ? Number(body.readBigUInt64LE(0)) : -errno;
      };
      assert.equal(await at(0, 3), 40_960);
      assert.equal(await at(45_000, 3), 45_000);
      assert.equal(await at(49_152, 3), -Errno.ENXIO);
      assert.equal(await at(0, 4), 0);
      assert.equal(await at(40_960, 4), 49_152);
      assert.equal(await at(SIZE - 1, 4), SIZE - 1);
      assert.equal(await at(SIZE, 3), -Errno.ENXIO);
      assert.equal(await at(SIZE, 4), -Errno.ENXIO);
      assert.equal(await at(0, 0), -Errno.EINVAL);
      await kernel.callLater(WRITE, node, write(SIZE - 1, Buffer.alloc(1, 1)));
      assert.equal(await at(SIZE - 1, 4), SIZE, 'the end is a hole');
    });
  });
}

test('bytes that are at hand are read into the reply', async () => {
  class ReadyDevice extends MemoryDevice {
    ready = true;
    readInto(target: Buffer, offset: number): boolean {
      this.calls.push(`readInto ${offset} ${target.length}`);
      this.bytes.copy(target, 0, offset);
      if (!this.ready) target.fill(0xee);
      return this.ready;
    }
  }
  const device = new ReadyDevice(SIZE);
  randomFillSync(device.bytes);
  const { kernel, node } = withFile(device);
  for (const [offset, size] of [
    [0, SIZE],
    [1, 4096],
    [SIZE - 10, 4096],
  ] as const) {
    const expected = device.bytes.subarray(offset, offset + size);
    device.ready = true;
    assert.deepEqual(kernel.call(READ, node, transfer(offset, size)).body, expected);
    device.ready = false;
    assert.deepEqual(kernel.call(READ, node, transfer(offset, size)).body, expected);
    const length = expected.length;
    const both = [`readInto ${offset} ${length}`, `read ${offset} ${length}`];
    assert.deepEqual(device.calls.splice(0), [`readInto ${offset} ${length}`, ...both]);
  }
});

test('large replies have memory of their own, until another thread has handed them over', () => {
  class AtHand extends MemoryDevice {
    here = true;
    readInto(target: Buffer, offset: number): boolean {
      target.fill(offset / LARGE + 1);
      return this.here;
    }
  }
  const LARGE = 256 * 1024;
  const device = new AtHand(8 * LARGE);
  const kernel = new AsideKernel({ media: device });
  const node = kernel.lookup('media');
  const read = (index: number, length = LARGE): bigint => kernel.request(READ, node, transfer(index * LARGE, length));
  const firstByte = (unique: bigint): number | undefined => kernel.replyTo(unique)?.body[0];

  const [one, two, three, four] = [read(0), read(1), read(2), read(3)];
  assert.deepEqual([one, two, three].map(firstByte), [undefined, undefined, undefined]);
  assert.equal(firstByte(four), 4, 'no more than three are on their way at once');
  assert.equal(firstByte(read(4, LARGE - 4096)), 5, 'smaller ones are handed over at once');
  device.here = false;
  assert.equal(kernel.replyTo(read(5))?.body.length, LARGE, 'what is not at hand is read otherwise');
  device.here = true;
  for (const send of kernel.aside.splice(0).reverse()) send();
  assert.deepEqual([one, two, three].map(firstByte), [1, 2, 3], 'nothing was put into their memory meanwhile');
  device.here = false;
  read(5);
  read(5);
  device.here = true;
  const again = [read(5), read(6), read(7)];
  assert.equal(kernel.aside.length, 3, 'a buffer that was not used is free again');
  for (const send of kernel.aside.splice(0)) send();
  assert.deepEqual(again.map(firstByte), [6, 7, 8]);
  kernel.refuses = true;
  assert.equal(firstByte(read(0)), 1, 'where that cannot be, it is handed over at once');
});

/** A kernel to which another thread of ours hands replies, when the test says so. */
class AsideKernel extends FakeKernel {
  readonly aside: (() => void)[] = [];
  refuses = false;

  sendAside(bytes: Buffer, length: number, sent: () => void): boolean {
    if (this.refuses) return false;
    this.aside.push(() => {
      this.send(bytes, length);
      sent();
    });
    return true;
  }
}

describe('a slow device', () => {
  test('keeps the data of its writes, and the next request has another buffer', async () => {
    const { kernel, node, device } = withFile(new HeldMemoryDevice(SIZE));
    const held = device as HeldMemoryDevice;
    const writes = [1, 2, 3].map((value) =>
      kernel.request(WRITE, node, write(value * 4096, Buffer.alloc(4096, value))),
    );
    await held.whenHeld(3);
    assert.equal(kernel.session.inFlight, 3);
    kernel.buffers.current.fill(0xee);
    for (const value of [3, 1, 2]) held.release(value * 4096);
    for (const unique of writes) assert.equal((await kernel.reply(unique)).errno, 0);
    for (const value of [1, 2, 3]) assert.equal(device.bytes[value * 4096 + 4095], value);
    await settle();
    assert.deepEqual([kernel.session.inFlight, kernel.session.bytesInFlight, kernel.progress], [0, 0, 3]);
  });

  test('that fails a write in the end gives its buffer back', async () => {
    const { kernel, node, device } = withFile(new HeldMemoryDevice(SIZE));
    const held = device as HeldMemoryDevice;
    const { current } = kernel.buffers;
    const failing = kernel.request(WRITE, node, write(0, Buffer.alloc(4096)));
    await held.whenHeld(1);
    held.held[0]?.fail(new StorageError('UNAVAILABLE', 'the cache disk fails'));
    assert.equal((await kernel.reply(failing)).errno, Errno.EIO);
    await settle();
    kernel.buffers.keep();
    assert.ok(kernel.buffers.current === current, 'it is the next one');
  });

  test('does not keep another file from being served', async () => {
    const slow = new HeldMemoryDevice(SIZE);
    const kernel = new FakeKernel({ slow, quick: new MemoryDevice(SIZE) });
    const [slowNode, quickNode] = [kernel.lookup('slow'), kernel.lookup('quick')];
    const waiting = kernel.request(READ, slowNode, transfer(0, 4096));
    assert.equal(kernel.call(READ, quickNode, transfer(0, 4096)).body.length, 4096);
    await slow.whenHeld(1);
    slow.release(0);
    assert.equal((await kernel.reply(waiting)).body.length, 4096);
  });

  test('is asked up to the bounds, and what comes then waits in its order, up to its own', async () => {
    for (const limits of [{ inFlightBytesMax: 4096 }, { inFlightRequestsMax: 1 }]) {
      const slow = new HeldMemoryDevice(SIZE);
      const kernel = new FakeKernel({ slow }, { limits: { ...limits, waitingBytesMax: 10_000 } });
      const node = kernel.lookup('slow');
      const data = (tag: number): Buffer => Buffer.alloc(8192, tag);
      const asked = [
        kernel.request(READ, node, transfer(0, 4096)),
        kernel.request(READ, node, transfer(8192, 4096)),
        kernel.request(WRITE, node, write(4096, data(1))),
      ];
      assert.equal(kernel.session.full, false);
      assert.equal(kernel.call(3, node, Buffer.alloc(16)).errno, 0, 'what holds nothing is answered');
      asked.push(kernel.request(WRITE, node, write(4096, data(2))));
      assert.equal(kernel.session.full, true);
      assert.deepEqual(
        slow.held.map(({ name, offset }) => `${name} ${offset}`),
        ['read 0'],
      );
      assert.equal(kernel.session.inFlight, 4);
      for (const [offset, full] of [
        [0, true],
        [8192, false],
        [4096, false],
        [4096, false],
      ] as const) {
        await slow.whenHeld(1);
        assert.equal(slow.held.length, 1);
        slow.release(offset);
        await settle();
        assert.equal(kernel.session.full, full);
      }
      for (const unique of asked) assert.equal((await kernel.reply(unique)).errno, 0);
      assert.ok(slow.bytes.subarray(4096, 4096 + 8192).equals(data(2)));
      assert.deepEqual([kernel.session.inFlight, kernel.session.bytesInFlight, kernel.progress], [0, 0, 4]);
    }
  });

  test('does not keep what waits for it from being given up, nor what it is asked', async () => {
    const clock = new VirtualClock();
    const slow = new HeldMemoryDevice(SIZE);
    const limits = { inFlightRequestsMax: 1, interruptGraceMs: 1000 };
    const kernel = new FakeKernel({ slow }, { clock, limits });
    const node = kernel.lookup('slow');
    const under = kernel.request(READ, node, transfer(0, 4096));
    const [first, given, other] = [4096, 8192, 12_288].map((at) =>
      kernel.request(WRITE, node, write(at, Buffer.alloc(4096, 1))),
    ) as [bigint, bigint, bigint];
    for (const unique of [given, given, under]) kernel.request(INTERRUPT, 0, pack(u64(unique)));
    await clock.advance(999);
    assert.deepEqual([kernel.replyTo(given), kernel.replyTo(under)], [undefined, undefined]);
    await clock.advance(1);
    assert.equal((await kernel.reply(given)).errno, Errno.EINTR);
    assert.equal((await kernel.reply(under)).errno, Errno.EINTR);
    assert.deepEqual([kernel.session.inFlight, kernel.progress], [3, 1]);
    for (const offset of [0, 4096, 12_288]) {
      await slow.whenHeld(1);
      slow.release(offset);
      await settle();
    }
    for (const unique of [first, other]) assert.equal((await kernel.reply(unique)).errno, 0);
    assert.ok(slow.bytes.subarray(8192, 12_288).equals(Buffer.alloc(4096)), 'it was never begun');
    assert.equal(kernel.session.inFlight, 0);
  });

  test('that is asked at last for what was to be given up is given its time', async () => {
    const clock = new VirtualClock();
    const slow = new HeldMemoryDevice(SIZE);
    const kernel = new FakeKernel({ slow }, { clock, limits: { inFlightRequestsMax: 1, interruptGraceMs: 1000 } });
    const node = kernel.lookup('slow');
    kernel.request(READ, node, transfer(0, 4096));
    const waiting = kernel.request(READ, node, transfer(4096, 4096));
    kernel.request(INTERRUPT, 0, pack(u64(waiting)));
    await slow.whenHeld(1);
    slow.release(0);
    await slow.whenHeld(1);
    await clock.advance(1999);
    assert.equal(kernel.replyTo(waiting), undefined);
    await clock.advance(1);
    assert.equal((await kernel.reply(waiting)).errno, Errno.EINTR);
    slow.release(4096);
    await settle();
    assert.equal(kernel.session.inFlight, 0);
  });

  test('is given up by a program that is told to end, after a while', async () => {
    const clock = new VirtualClock();
    const slow = new HeldMemoryDevice(SIZE);
    const kernel = new FakeKernel({ slow }, { clock, limits: { interruptGraceMs: 1000 } });
    const node = kernel.lookup('slow');
    const interrupted = kernel.request(READ, node, transfer(0, 4096));
    const inTime = kernel.request(READ, node, transfer(4096, 4096));
    await slow.whenHeld(2);
    for (const unique of [interrupted, interrupted, inTime]) kernel.request(INTERRUPT, 0, pack(u64(unique)));
    slow.release(4096);
    await clock.advance(999);
    assert.equal(kernel.replyTo(interrupted), undefined, 'most signals mean nothing to a read');
    assert.equal((await kernel.reply(inTime)).errno, 0);
    await clock.advance(1);
    assert.equal((await kernel.reply(interrupted)).errno, Errno.EINTR);
    assert.equal(kernel.session.inFlight, 1, 'the device is still at it');
    slow.release(0);
    await settle();
    assert.equal(kernel.session.inFlight, 0);
  });
});

describe('failures', () => {
  class FailingDevice extends MemoryDevice {
    error: unknown = new StorageError('CORRUPT', 'x');
    later = false;
    #fail(): Promise<never> {
      if (this.later) return Promise.reject(this.error);
      throw this.error;
    }
    override read(): Promise<Buffer> {
      return this.#fail();
    }
    override write(): Promise<void> {
      return this.#fail();
    }
    override zero(): Promise<void> {
      return this.#fail();
    }
    override flush(): Promise<void> {
      return this.#fail();
    }
    override extents(): Promise<never> {
      return this.#fail();
    }
  }

  for (const later of [false, true]) {
    test(`of the device are told, ${later ? 'late' : 'at once'}`, async () => {
      const device = new FailingDevice(SIZE);
      device.later = later;
      const { kernel, node } = withFile(device);
      const requests: [number, Buffer][] = [
        [READ, transfer(0, 4096)],
        [WRITE, write(0, Buffer.alloc(10))],
        [FLUSH, closing()],
        [FALLOCATE, fallocate(0, 10, 3)],
        [LSEEK, seek(0, 3)],
      ];
      for (const [error, errno] of [
        [new StorageError('CORRUPT', 'x'), Errno.EIO],
        [new StorageError('NO_SPACE', 'x'), Errno.ENOSPC],
        [new StorageError('FENCED', 'x'), Errno.ESTALE],
        [new TypeError('ours'), Errno.EIO],
        ['not even an error', Errno.EIO],
      ] as const) {
        device.error = error;
        for (const [opcode, body] of requests) {
          assert.equal((await kernel.callLater(opcode, node, body)).errno, errno, `opcode ${opcode}`);
        }
      }
      await settle();
      assert.deepEqual([kernel.session.inFlight, kernel.session.bytesInFlight], [0, 0]);
    });
  }

  test('of a device that returns too little do not reach the program', async () => {
    class ShortDevice extends MemoryDevice {
      override read(): Buffer {
        return Buffer.alloc(5);
      }
      override extents() {
        return [];
      }
    }
    const { kernel, node } = withFile(new ShortDevice(SIZE));
    assert.equal(kernel.call(READ, node, transfer(0, 10)).errno, Errno.EIO);
    assert.equal((await kernel.callLater(LSEEK, node, seek(0, 3))).errno, Errno.EIO);
  });

  test('after a shutdown what is under way completes, and nothing else is begun', async () => {
    const device = new HeldMemoryDevice(SIZE);
    const { kernel, node } = withFile(device);
    const before = kernel.request(READ, node, transfer(0, 4096));
    kernel.session.shutdown();
    assert.equal(kernel.call(READ, node, transfer(0, 4096)).errno, Errno.EIO);
    assert.equal(kernel.call(3, node, Buffer.alloc(16)).errno, 0, 'looking is allowed');
    await device.whenHeld(1);
    device.release(0);
    assert.equal((await kernel.reply(before)).errno, 0);
  });

  test('after a shutdown what waits is not begun either', async () => {
    const slow = new HeldMemoryDevice(SIZE);
    const kernel = new FakeKernel({ slow }, { limits: { inFlightRequestsMax: 1 } });
    const node = kernel.lookup('slow');
    const before = kernel.request(READ, node, transfer(0, 4096));
    const waiting = kernel.request(READ, node, transfer(4096, 4096));
    kernel.session.shutdown();
    assert.equal(kernel.replyTo(waiting)?.errno, Errno.EIO);
    await slow.whenHeld(1);
    slow.release(0);
    assert.equal((await kernel.reply(before)).errno, 0);
  });

  test('requests of the wrong length are refused', () => {
    const { kernel, node } = withFile();
    for (const opcode of [1, 4, 14, READ, WRITE, FLUSH, 28, 34, FALLOCATE, 44, LSEEK]) {
      assert.equal(kernel.call(opcode, node).errno, Errno.EINVAL, `opcode ${opcode}`);
    }
    const lying = pack(u32(1000), u32(READ), u64(9999), u64(node), Buffer.alloc(16), transfer(0, 10));
    kernel.feed(lying);
    assert.equal(kernel.replyTo(9999n)?.errno, Errno.EINVAL);
    kernel.feed(Buffer.alloc(39));
    const tooLittle = Buffer.concat([transfer(0, 4096), Buffer.alloc(4095)]);
    assert.equal(kernel.call(WRITE, node, tooLittle).errno, Errno.EINVAL);
  });
});
