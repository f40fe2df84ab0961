/**
 * Requests made by chance, sensible ones and nonsense, to devices that fail and answer late: nothing throws, everything that
 * wants a reply gets one the kernel accepts, once, and in the end nothing is under way. Where a request makes sense its
 * effect is that on a plain buffer. FUZZ_SEEDS=100000 runs that many, FUZZ_SEED=17 only that one.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { StorageError } from '../../../src/lib/errors.ts';
import type { WriteOptions } from '../../../src/volume/block-device.ts';
import { Random } from '../../conformance/lease/random.ts';
import { MemoryDevice } from '../../conformance/nbd/memory-device.ts';
import { settle } from '../../support/virtual-clock.ts';
import { FakeKernel, pack, transfer, u32, u64 } from './fake-kernel.ts';

const { FUZZ_SEED, FUZZ_SEEDS } = process.env;
const first = Number(FUZZ_SEED ?? 1);
const count = FUZZ_SEED === undefined ? Number(FUZZ_SEEDS ?? 300) : 1;

const SIZE = 65_536;
const WITHOUT_REPLY = new Set([2, 36, 42]);

/** Answers at once, later, or with an error, as chance has it. */
class MoodyDevice extends MemoryDevice {
  readonly #random: Random;

  constructor(random: Random) {
    super(SIZE);
    this.recordCalls = false;
    this.#random = random;
  }

  override read(offset: number, length: number): Buffer | Promise<Buffer> {
    // Taken when it was asked for: the requests of one kernel are in order here.
    const data = super.read(offset, length) as Buffer;
    return this.#mood(data);
  }

  readInto(target: Buffer, offset: number): boolean {
    target.fill(0xee);
    if (this.#random.chance(0.5)) return false;
    this.bytes.copy(target, 0, offset);
    return true;
  }

  override write(offset: number, data: Buffer, options: WriteOptions): void | Promise<void> {
    if (this.#random.chance(0.1)) throw new StorageError('NO_SPACE', 'by chance');
    super.write(offset, data, options);
    if (!this.#random.chance(0.3)) return undefined;
    const copy = Buffer.from(data);
    return this.#later(undefined).then(() => assert.deepEqual(data, copy, 'the data was left alone meanwhile'));
  }

  override flush(): void | Promise<void> {
    return this.#mood(undefined);
  }

  #mood<T>(value: T): T | Promise<T> {
    if (this.#random.chance(0.05))
      throw this.#random.chance(0.5) ? new TypeError('x') : new StorageError('TIMEOUT', 'x');
    if (this.#random.chance(0.05))
      return this.#later(value).then(() => Promise.reject(new StorageError('CORRUPT', 'x')));
    return this.#random.chance(0.3) ? this.#later(value) : value;
  }

  async #later<T>(value: T): Promise<T> {
    await settle(this.#random.int(1, 3));
    return value;
  }
}

function nonsense(random: Random): Buffer {
  const bytes = Buffer.alloc(random.int(0, 200));
  for (let i = 0; i < bytes.length; i++) bytes[i] = random.chance(0.4) ? 0 : random.int(0, 255);
  return bytes;
}

function body(random: Random, opcode: number): Buffer {
  const offset = random.chance(0.1) ? BigInt(random.int(0, 2 ** 32 - 1)) << 31n : random.int(0, SIZE + 10);
  const size = random.int(0, 9000);
  if (random.chance(0.15)) return nonsense(random);
  if (opcode === 16) return Buffer.concat([transfer(offset, size), Buffer.alloc(size, random.int(0, 255))]);
  if (opcode === 43)
    return pack(u64(0), u64(offset), u64(size), u32(random.chance(0.5) ? 3 : random.int(0, 64)), u32(0));
  if (opcode === 46) return pack(u64(0), u64(offset), u32(random.int(2, 5)), u32(0));
  if (opcode === 1) return Buffer.from(random.chance(0.5) ? 'media\0' : 'x');
  return Buffer.concat([transfer(offset, size), Buffer.alloc(64)]);
}

/** What a request that has succeeded must have done. */
function apply(model: Buffer, opcode: number, request: Buffer): void {
  if (opcode === 16) {
    const offset = Math.min(SIZE, Number(request.readBigUInt64LE(8)));
    request.copy(model, offset, 40, 40 + request.readUInt32LE(16));
  } else if (opcode === 43) {
    const offset = Math.min(SIZE, Number(request.readBigUInt64LE(8)));
    model.fill(0, offset, Math.min(SIZE, offset + Number(request.readBigUInt64LE(16))));
  }
}

async function run(seed: number): Promise<void> {
  const random = new Random(seed);
  const device = new MoodyDevice(random);
  const kernel = new FakeKernel(
    { media: device, other: new MemoryDevice(4096) },
    { greet: random.chance(0.9), limits: random.chance(0.3) ? { inFlightRequestsMax: random.int(1, 4) } : {} },
  );
  if (kernel.negotiated === null && random.chance(0.9)) kernel.lookup('media');
  const wanted: bigint[] = [];
  const changes: { unique: bigint; opcode: number; request: Buffer }[] = [];
  for (let i = 0; i < 60; i++) {
    const opcode = random.chance(0.2)
      ? random.int(0, 60)
      : ([1, 3, 15, 16, 16, 20, 28, 43, 44, 46][random.int(0, 9)] ?? 0);
    const node = random.chance(0.8) ? 2 : random.int(0, 4);
    if (random.chance(0.02)) {
      const bytes = nonsense(random);
      // Its identity, where it has one, is nobody else's.
      if (bytes.length >= 16) bytes.writeUInt32LE(0xff000000 + i, 12);
      kernel.feed(bytes);
      continue;
    }
    const request = body(random, opcode);
    const unique = kernel.request(opcode, node, request);
    if (!WITHOUT_REPLY.has(opcode)) wanted.push(unique);
    if (node === 2) changes.push({ unique, opcode, request });
    if (random.chance(0.1)) kernel.request(36, 0, pack(u64(unique)));
    if (random.chance(0.2)) await settle(1);
  }
  for (const unique of wanted) await kernel.reply(unique);
  await settle();
  assert.deepEqual([kernel.session.inFlight, kernel.session.bytesInFlight], [0, 0]);

  if (kernel.negotiated !== null) return;
  // What the kernel wrote is what the device holds, and what is read in the end.
  kernel.devices.set('media', Object.assign(new MemoryDevice(SIZE), { bytes: device.bytes }));
  assert.deepEqual(kernel.call(15, kernel.lookup('media'), transfer(0, SIZE)).body, device.bytes);
  // It takes what it is given in order and at once, whenever it says that it has.
  const model = Buffer.alloc(SIZE);
  for (const { unique, opcode, request } of changes) {
    if (kernel.replyTo(unique)?.errno === 0) apply(model, opcode, request);
  }
  assert.deepEqual(device.bytes, model);
}

test(`${count} conversations`, async () => {
  for (let seed = first; seed < first + count; seed++) {
    await run(seed).catch((error: unknown) => {
      throw new Error(`FUZZ_SEED=${seed}`, { cause: error });
    });
  }
});
