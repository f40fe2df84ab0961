/**
 * Every request is answered once, and every payload arrives as it was sent: several connections at once, with more in the
 * kernel than is taken in one go, cut anywhere, over devices that answer at once, late, or with errors, within any limits.
 */
import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import fc from 'fast-check';
import { StorageError } from '../../../src/lib/errors.ts';
import { Command } from '../../../src/nbd/constants.ts';
import type { Framing } from '../../../src/nbd/wire.ts';
import type { WriteOptions } from '../../../src/volume/block-device.ts';
import { Random } from '../lease/random.ts';
import { MemoryDevice } from './memory-device.ts';
import { type RawClient, type Request, requestBytes } from './raw-client.ts';
import { startServer } from './test-server.ts';

const KIB = 1024;
const MIB = 1024 * KIB;
const SIZE = 4 * MIB;
/** Reads are of the first half, which nobody writes to. */
const HALF = SIZE / 2;
const SECTOR = 512;

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

/** What belongs at an offset, throughout a request. */
function byteAt(offset: number): number {
  return 1 + ((offset / SECTOR) % 255);
}

/** Answers at once, some turns later, or with an error; sees whether a payload is what was sent. */
class UnsteadyDevice extends MemoryDevice {
  /** Offsets of writes whose data was not what was sent. */
  readonly damaged: number[] = [];
  readonly #random: Random;
  readonly #lateChance: number;
  readonly #failChance: number;

  constructor(random: Random, lateChance: number, failChance = 0.05) {
    super(SIZE);
    this.#random = random;
    this.#lateChance = lateChance;
    this.#failChance = failChance;
    this.recordCalls = false;
    for (let at = 0; at < HALF; at += SECTOR) this.bytes.fill(byteAt(at), at, at + SECTOR);
  }

  override read(offset: number, length: number): Buffer | Promise<Buffer> {
    return this.#answer(() => super.read(offset, length) as Buffer);
  }

  override write(offset: number, data: Buffer, options: WriteOptions): void | Promise<void> {
    const check = (): void => {
      if (data.length === 0 || !data.equals(Buffer.alloc(data.length, byteAt(offset)))) this.damaged.push(offset);
    };
    check();
    return this.#answer(() => {
      check();
      void super.write(offset, data, options);
    });
  }

  override trim(): void | Promise<void> {
    return this.#answer(() => {});
  }

  override flush(): void | Promise<void> {
    return this.#answer(() => {});
  }

  #answer<T>(act: () => T): T | Promise<T> {
    const fails = this.#random.chance(this.#failChance);
    const perform = (): T => {
      if (fails) throw new StorageError('UNAVAILABLE', 'away for the moment');
      return act();
    };
    return this.#random.chance(this.#lateChance) ? this.#later(perform) : perform();
  }

  async #later<T>(perform: () => T): Promise<T> {
    for (let turns = this.#random.int(0, 20); turns > 0; turns--) await turn();
    return perform();
  }
}

/** Many small requests, and then perhaps a large one. */
interface Burst {
  readonly small: number;
  readonly kind: 'read' | 'write' | 'trim' | 'flush';
  readonly largeBytes: number;
  readonly largeIsWrite: boolean;
}

interface Conversation {
  readonly framing: Framing;
  readonly volume: number;
  readonly bursts: readonly Burst[];
  /** It is cut into pieces up to so long. */
  readonly pieceBytesMax: number;
  /** Goes in the midst of it, without a word. */
  readonly leaves: boolean;
}

interface Play {
  readonly seed: number;
  readonly lateChance: number;
  readonly limits: { inFlightRequestsMax: number; inFlightBytesMax: number; unsentBytesMax: number };
  readonly conversations: readonly Conversation[];
}

const sectors = (max: number): fc.Arbitrary<number> => fc.integer({ min: 1, max }).map((count) => count * SECTOR);

const plays: fc.Arbitrary<Play> = fc.record({
  seed: fc.nat({ max: 1e9 }),
  lateChance: fc.constantFrom(0, 0.1, 0.5, 1),
  limits: fc.record({
    inFlightRequestsMax: fc.constantFrom(1, 7, 1024, 1024),
    inFlightBytesMax: fc.constantFrom(1, 50_000, MIB, 64 * MIB, 64 * MIB),
    unsentBytesMax: fc.constantFrom(0, 5000, MIB, MIB),
  }),
  conversations: fc.array(
    fc.record({
      framing: fc.constantFrom<Framing[]>('simple', 'structured', 'extended'),
      volume: fc.nat({ max: 1 }),
      bursts: fc.array(
        fc.record({
          small: fc.constantFrom(0, 3, 20, 33, 70),
          kind: fc.constantFrom<Burst['kind'][]>('read', 'write', 'trim', 'flush'),
          largeBytes: sectors(600),
          largeIsWrite: fc.boolean(),
        }),
        { minLength: 1, maxLength: 4 },
      ),
      pieceBytesMax: fc.constantFrom(100, 5000, 64 * MIB, 64 * MIB),
      leaves: fc.constantFrom(false, false, false, true),
    }),
    { minLength: 1, maxLength: 3 },
  ),
});

function requestsOf({ bursts }: Conversation, random: Random): Request[] {
  const requests: Request[] = [];
  const add = (kind: Burst['kind'], length: number): void => {
    const cookie = BigInt(requests.length);
    const offset = random.int(0, (HALF - length) / SECTOR) * SECTOR;
    if (kind === 'read') requests.push({ type: Command.READ, cookie, offset, length });
    else if (kind === 'write') {
      const at = HALF + offset;
      requests.push({ type: Command.WRITE, cookie, offset: at, payload: Buffer.alloc(length, byteAt(at)) });
    } else if (kind === 'trim') requests.push({ type: Command.TRIM, cookie, offset: HALF + offset, length });
    else requests.push({ type: Command.FLUSH, cookie });
  };
  for (const { small, kind, largeBytes, largeIsWrite } of bursts) {
    for (let i = 0; i < small; i++) add(kind, SECTOR);
    add(largeIsWrite ? 'write' : 'read', largeBytes);
  }
  return requests;
}

/** Sends all of it while the answers are read, and sees that there is one to each. */
async function converse(client: RawClient, conversation: Conversation, random: Random): Promise<void> {
  const requests = requestsOf(conversation, random);
  const extended = conversation.framing === 'extended';
  const bytes = Buffer.concat(requests.map((request) => requestBytes(request, extended)));
  const leavesAt = conversation.leaves ? random.int(0, bytes.length) : Number.POSITIVE_INFINITY;
  const open = new Map(requests.map((request) => [request.cookie ?? -1n, request]));
  const send = async (): Promise<void> => {
    for (let at = 0; at < bytes.length && at < leavesAt; ) {
      const length = random.int(1, conversation.pieceBytesMax);
      const flushed = client.socket.write(bytes.subarray(at, at + length));
      at += length;
      if (!flushed || random.chance(0.3)) await turn();
    }
    if (conversation.leaves) client.close();
  };
  const receive = async (): Promise<void> => {
    while (open.size > 0) {
      const { cookie, errno, data } = await client.reply((of) => lengthOf(open.get(of)));
      const request = open.get(cookie);
      assert.ok(request !== undefined && open.delete(cookie), `an answer to ${cookie}, which has been answered`);
      if (errno === 0 && request.type === Command.READ) checkRead(request, data);
      else assert.ok(errno === 0 || errno === 5, `errno ${errno}`);
      if (random.chance(0.01)) await turn();
    }
  };
  const sent = send();
  try {
    await receive();
    client.send({ type: Command.DISC });
    assert.equal((await client.untilClosed()).length, 0, 'bytes after the last answer');
  } catch (error) {
    if (!conversation.leaves || error instanceof assert.AssertionError) throw error;
  }
  await sent;
}

function lengthOf(request: Request | undefined): number {
  return request?.type === Command.READ ? Number(request.length) : 0;
}

function checkRead({ offset, length }: Request, data: Buffer): void {
  assert.equal(data.length, length);
  for (let at = 0; at < data.length; at += SECTOR) assert.equal(data[at], byteAt(Number(offset) + at));
}

async function play(t: TestContext, { seed, lateChance, limits, conversations }: Play): Promise<void> {
  const random = new Random(seed);
  const devices = [0, 1].map(() => new UnsteadyDevice(random, lateChance));
  const { attach, server } = await startServer(
    t,
    devices.map((device, i) => ({ name: `disk${i}`, description: '', device })),
    limits,
  );
  await Promise.all(
    conversations.map(async (conversation) => {
      const { framing, volume } = conversation;
      const client = await attach({ name: `disk${volume}`, framing });
      await converse(client, conversation, random);
    }),
  );
  while (server.bytesInFlight > 0 || server.connections().length > 0) await turn();
  for (const { damaged } of devices) assert.deepEqual(damaged, [], 'a payload arrived as it was sent');
  await server.close({ deadlineMs: 0 });
}

/** Sent in one go. The second write tells whether the connection is still in step. */
for (const largeBytes of [60, 120, 600].map((count) => count * KIB)) {
  test(`a write of ${largeBytes / KIB} KiB whose payload had begun when a turn was over`, {
    timeout: 20_000,
  }, async (t) => {
    const device = new UnsteadyDevice(new Random(1), 0, 0);
    const client = await (await startServer(t, device)).attach();
    const requests: Request[] = Array.from({ length: 70 }, (_, i) => ({
      type: Command.TRIM,
      cookie: BigInt(i),
      length: 512,
    }));
    for (const [cookie, length] of [
      [70n, largeBytes],
      [71n, SECTOR],
    ] as const) {
      requests.push({ type: Command.WRITE, cookie, offset: HALF, payload: Buffer.alloc(length, byteAt(HALF)) });
    }
    client.write(Buffer.concat(requests.map((request) => requestBytes(request))));
    for (const { cookie } of requests) assert.equal((await client.reply()).cookie, cookie);
    assert.equal((await client.request({ type: Command.FLUSH, cookie: 72n })).errno, 0);
    assert.deepEqual(device.damaged, []);
  });
}

const { ONCE_RUNS } = process.env;

test('each request is answered once, whatever happens around it', async (t) => {
  await fc.assert(
    fc.asyncProperty(plays, (drawn) => play(t, drawn)),
    { numRuns: Number(ONCE_RUNS ?? 40) },
  );
});
