/** A whole conversation without a socket: however its bytes are split, and wherever payloads land, the answer is the same. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setImmediate } from 'node:timers/promises';
import fc from 'fast-check';
import { isChecked } from '../../../src/lib/checksum.ts';
import { StorageError } from '../../../src/lib/errors.ts';
import { silentLog } from '../../../src/lib/log.ts';
import { Command, CommandFlag, Option } from '../../../src/nbd/constants.ts';
import { InFlightBudget, SharedBudget } from '../../../src/nbd/in-flight-budget.ts';
import { PayloadPool } from '../../../src/nbd/payload-pool.ts';
import { ReplyQueue, SlabPool } from '../../../src/nbd/reply-queue.ts';
import { Session } from '../../../src/nbd/session.ts';
import { Turn } from '../../../src/nbd/turns.ts';
import { tableOf } from '../../conformance/nbd/export-table.ts';
import { MemoryDevice } from '../../conformance/nbd/memory-device.ts';
import {
  clientFlagsBytes,
  infoData,
  metaContextData,
  optionBytes,
  type Request,
  requestBytes,
} from '../../conformance/nbd/raw-client.ts';

const SIZE = 256 * 1024;

interface Conversation {
  readonly session: Session;
  readonly device: MemoryDevice;
  readonly turn: Turn;
  /** Everything answered so far. */
  output(): Buffer;
}

function converse(
  device = new MemoryDevice(SIZE),
  payloads = new PayloadPool(0),
  unsentBytesMax = Number.POSITIVE_INFINITY,
  slabs = new SlabPool(4),
): Conversation {
  const replies = new ReplyQueue(slabs);
  const turn = new Turn();
  const session = new Session({
    exports: tableOf({ name: 'disk', description: 'text', device }),
    limits: { inFlightRequestsMax: 10, unsentBytesMax },
    replies,
    budget: new InFlightBudget(new SharedBudget(2 ** 40), 2 ** 40, () => {}),
    payloads,
    turn,
    onNegotiated: () => {},
    onProgress: () => {},
    log: silentLog,
  });
  const output = (): Buffer => {
    const bytes = Buffer.concat(replies.nextBatch(Number.POSITIVE_INFINITY));
    replies.written();
    return bytes;
  };
  return { session, device, turn, output };
}

const handshake: readonly Buffer[] = [
  clientFlagsBytes(3),
  optionBytes(0x77, Buffer.alloc(70_000, 1)),
  optionBytes(Option.LIST),
  optionBytes(Option.STRUCTURED_REPLY),
  optionBytes(Option.SET_META_CONTEXT, metaContextData('disk', ['base:allocation', 'x:y'])),
  optionBytes(Option.INFO, infoData('nosuch', [3])),
  optionBytes(Option.GO, infoData('', [1, 2, 3])),
];

const requests: readonly Request[] = [
  { type: Command.WRITE, cookie: 1n, offset: 10, payload: Buffer.alloc(40_000, 5) },
  { type: Command.WRITE, cookie: 2n, offset: 100, payload: Buffer.from('hello') },
  { type: Command.READ, cookie: 3n, offset: 0, length: 50_000 },
  { type: Command.READ, cookie: 4n, flags: CommandFlag.DF, offset: 100_000, length: 8192 },
  { type: Command.WRITE, cookie: 5n, offset: SIZE - 1, payload: Buffer.alloc(30_000, 6) },
  { type: 77, cookie: 6n, length: 12 },
  { type: Command.WRITE_ZEROES, cookie: 7n, flags: CommandFlag.NO_HOLE, offset: 50, length: 60 },
  { type: Command.FLUSH, cookie: 8n },
  { type: Command.READ, cookie: 9n, offset: 2n ** 64n - 1n, length: 1 },
  { type: Command.READ, cookie: 10n, offset: 40, length: 80 },
  { type: Command.DISC, cookie: 11n },
  { type: Command.READ, cookie: 12n, length: 16 },
];

const input = Buffer.concat([...handshake, ...requests.map((request) => requestBytes(request))]);
const discEnd = input.length - 28;

/** Feeds the input in pieces of the given lengths, round and round; payloads in place where `direct`. */
function play(lengths: readonly number[], direct: boolean): { output: Buffer; device: MemoryDevice; taken: number } {
  const { session, device, turn, output } = converse();
  const outputs: Buffer[] = [];
  let at = 0;
  for (let i = 0; at < input.length && !session.ended; i++) {
    const length = Math.min(lengths[i % lengths.length] ?? 1, input.length - at);
    if (direct && session.missingPayload > 0) {
      const placed = Math.min(length, session.missingPayload);
      input.copy(session.payloadRoom(), 0, at, at + placed);
      session.arrived(placed);
      at += placed;
    } else {
      // The piece is at an odd place of a larger buffer, which is overwritten at once, as a socket's would be.
      const buffer = Buffer.alloc(length + 5, 0xcc);
      input.copy(buffer, 3, at, at + length);
      while (turn.isOver) turn.next();
      at += session.feed(buffer, 3, 3 + length) - 3;
      buffer.fill(0xdd);
    }
    if (i % 3 === 0) outputs.push(output());
  }
  outputs.push(output());
  return { output: Buffer.concat(outputs), device, taken: at };
}

const whole = play([input.length], false);

test('the conversation does what it should', () => {
  assert.equal(whole.taken, discEnd, 'nothing after DISC is taken');
  assert.equal(whole.device.bytes.toString('latin1', 100, 105), '\0\0\0\0\0', 'zeroed after it was written');
  assert.deepEqual(whole.device.calls, [
    'write 10 40000',
    'write 100 5',
    'read 0 50000',
    'read 100000 8192',
    'zero 50 60',
    'flush',
    'read 40 80',
  ]);
  assert.equal(whole.output.toString('hex', 0, 18), '4e42444d4147494349484156454f50540003');
});

test('byte by byte it is the same', () => {
  const split = play([1], false);
  assert.ok(split.output.equals(whole.output));
  assert.ok(split.device.bytes.equals(whole.device.bytes));
});

test('any split gives the same', () => {
  const length = fc.oneof(fc.integer({ min: 1, max: 60 }), fc.integer({ min: 1, max: 50_000 }));
  fc.assert(
    fc.property(fc.array(length, { minLength: 1, maxLength: 30 }), fc.boolean(), (lengths, direct) => {
      const split = play(lengths, direct);
      assert.ok(split.output.equals(whole.output));
      assert.ok(split.device.bytes.equals(whole.device.bytes));
      assert.deepEqual(split.device.calls, whole.device.calls);
      assert.equal(split.taken, discEnd);
    }),
    { numRuns: 60 },
  );
});

test('no bytes, however wrong, make it throw', () => {
  const anything = fc.uint8Array({ maxLength: 300 }).map((bytes) => Buffer.from(bytes));
  const option = fc.tuple(fc.integer({ min: 0, max: 12 }), anything).map(([number, data]) => optionBytes(number, data));
  const request = fc
    .record({ type: fc.nat(9), flags: fc.nat(63), offset: fc.nat(SIZE + 10), length: fc.nat(300) })
    .map((one) => requestBytes(one));
  const piece = fc.oneof(
    { weight: 6, arbitrary: option },
    { weight: 6, arbitrary: request },
    { weight: 1, arbitrary: anything },
    { weight: 2, arbitrary: fc.constantFrom(...handshake.slice(1)) },
  );
  fc.assert(
    fc.property(fc.array(piece, { maxLength: 30 }), (pieces) => {
      const { session, turn } = converse();
      const bytes = Buffer.concat([clientFlagsBytes(3), ...pieces]);
      const taken = session.feed(bytes, 0, bytes.length);
      assert.ok(session.ended || taken === bytes.length || session.inFlight === 10 || turn.isOver);
    }),
    { numRuns: 300 },
  );
});

class DeviceAtHand extends MemoryDevice {
  /** Or what the bucket has, which takes its time. */
  atHand = true;

  readInto(target: Buffer, offset: number): boolean {
    if (this.atHand) this.bytes.copy(target, 0, offset);
    return this.atHand;
  }

  override async read(offset: number, length: number): Promise<Buffer> {
    return super.read(offset, length);
  }
}

test('a large read of what is at hand waits until most of the last one is sent; one that takes its time does not', async () => {
  const device = new DeviceAtHand(SIZE);
  const { session, turn, output } = converse(device, new PayloadPool(0), 3 * SIZE);
  const start = Buffer.concat([clientFlagsBytes(3), optionBytes(Option.GO, infoData('', []))]);
  session.feed(start, 0, start.length);
  const read = requestBytes({ type: Command.READ, offset: 0, length: SIZE });
  const ask = async (): Promise<boolean> => {
    while (turn.isOver) turn.next();
    const taken = session.feed(read, 0, read.length) > 0;
    await setImmediate();
    return taken;
  };
  assert.deepEqual([await ask(), await ask()], [true, false]);
  output();
  device.atHand = false;
  assert.deepEqual([await ask(), await ask(), await ask(), await ask()], [true, true, true, false]);
});

/** Refuses everything at once, as a volume does beyond the end that it has now. */
class ShrunkDevice extends MemoryDevice {
  readInto(): boolean {
    throw new StorageError('INVALID', 'past the end');
  }

  override write(): void | Promise<void> {
    throw new StorageError('NO_SPACE', 'past the end');
  }
}

/** Fails where there was no room at first. */
class FailingDevice extends MemoryDevice {
  override async write(): Promise<void> {
    await setImmediate();
    throw new StorageError('UNAVAILABLE', 'the cache disk fails');
  }
}

/** No memory for a reply, once. */
class ScarceSlabs extends SlabPool {
  isScarce = false;

  override take(): Buffer {
    if (!this.isScarce) return super.take();
    this.isScarce = false;
    throw new RangeError('out of memory');
  }
}

/** Takes a write, and is done with it later. */
class LateDevice extends MemoryDevice {
  readonly done = Promise.withResolvers<void>();

  override write(): Promise<void> {
    return this.done.promise;
  }
}

const READ = { type: Command.READ, cookie: 1n, offset: 0, length: SIZE };
const WRITE = { type: Command.WRITE, cookie: 1n, offset: 0, payload: Buffer.alloc(SIZE) };

for (const [name, device, request] of [
  ['read that the device refuses at once', new ShrunkDevice(SIZE), READ],
  ['write that the device refuses at once', new ShrunkDevice(SIZE), WRITE],
  ['write that fails late', new FailingDevice(SIZE), WRITE],
] as const) {
  test(`a ${name} costs no buffer for good`, async () => {
    const payloads = new PayloadPool(SIZE);
    const { session, turn } = converse(device, payloads);
    const bytes = Buffer.concat([clientFlagsBytes(3), optionBytes(Option.GO, infoData('', [])), requestBytes(request)]);
    for (let at = 0; at < bytes.length; ) {
      while (turn.isOver) turn.next();
      at += session.feed(bytes, at, bytes.length);
    }
    assert.equal(session.requests, 1);
    while (session.inFlight > 0) await setImmediate();
    assert.ok(isChecked(payloads.take(SIZE)), 'there is only one, and it was given back');
  });
}

test('the buffer of a write that is done but cannot be answered goes back once, and not to two requests', async () => {
  const payloads = new PayloadPool(SIZE);
  const slabs = new ScarceSlabs(4);
  const device = new LateDevice(SIZE);
  const { session, turn, output } = converse(device, payloads, Number.POSITIVE_INFINITY, slabs);
  const bytes = Buffer.concat([clientFlagsBytes(3), optionBytes(Option.GO, infoData('', [])), requestBytes(WRITE)]);
  for (let at = 0; at < bytes.length; ) {
    while (turn.isOver) turn.next();
    at += session.feed(bytes, at, bytes.length);
  }
  output();
  slabs.isScarce = true;
  device.done.resolve();
  while (session.inFlight > 0) await setImmediate();
  assert.equal(slabs.isScarce, false);
  assert.notEqual(payloads.take(SIZE), payloads.take(SIZE));
});
