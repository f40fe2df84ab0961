/** Greedy clients and modest ones, counted and not timed: what is done for others while somebody waits for one request. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { Command, NbdErrno } from '../../../src/nbd/constants.ts';
import { HeldMemoryDevice, MemoryDevice } from './memory-device.ts';
import { optionBytes, type RawClient, requestBytes } from './raw-client.ts';
import { startServer } from './test-server.ts';

const KIB = 1024;
const MIB = 1024 * KIB;

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise((resolve) => setTimeout(resolve, 1));
}

/** Tells how much it did for others between two requests of the modest client, which are those at its own offset. */
class CountingDevice extends MemoryDevice {
  readonly othersBytes: number[] = [];
  readonly othersRequests: number[] = [];
  #bytes = 0;
  #requests = 0;
  readonly #modestOffset: number;

  constructor(sizeBytes: number, modestOffset: number) {
    super(sizeBytes);
    this.recordCalls = false;
    this.copyReads = false;
    this.#modestOffset = modestOffset;
  }

  override read(offset: number, length: number): Buffer | Promise<Buffer> {
    this.#count(offset, length);
    return super.read(offset, length);
  }

  override trim(offset: number, length: number): void {
    this.#count(offset, 0);
    super.trim(offset, length, { fua: false });
  }

  #count(offset: number, length: number): void {
    if (offset !== this.#modestOffset) {
      this.#bytes += length;
      this.#requests++;
      return;
    }
    this.othersBytes.push(this.#bytes);
    this.othersRequests.push(this.#requests);
    this.#bytes = this.#requests = 0;
  }
}

const MODEST_OFFSET = 32 * MIB;

/** One request after the other, while the greedy ones have all the requests in the kernel that fit there. */
async function modestBeside(
  t: Parameters<typeof startServer>[0],
  greedy: number,
  request: Parameters<typeof requestBytes>[0],
): Promise<CountingDevice> {
  const device = new CountingDevice(33 * MIB, MODEST_OFFSET);
  device.bytes.fill(1);
  const { attach, server } = await startServer(t, device);
  const others = await Promise.all(Array.from({ length: greedy }, () => attach()));
  const modest = await attach();
  const one = requestBytes(request);
  const many = Buffer.alloc(one.length * 2000, one);
  let stop = false;
  const pumps = others.map(async (client) => {
    client.socket.removeAllListeners('readable');
    client.socket.on('data', () => {});
    client.socket.resume();
    while (!stop) {
      if (client.socket.write(many)) continue;
      await new Promise((resolve) => client.socket.once('drain', resolve).once('close', resolve));
    }
  });
  // All of them are at work before it counts.
  await until(() => server.connections().filter(({ requests }) => requests > 200).length === greedy);
  for (let i = 0; i < 60; i++) {
    const reply = await modest.request({ type: Command.READ, cookie: BigInt(i), offset: MODEST_OFFSET, length: 512 });
    assert.equal(reply.errno, NbdErrno.NONE);
  }
  stop = true;
  for (const client of others) client.close();
  await Promise.all(pumps);
  return device;
}

function percentile(values: readonly number[], part: number): number {
  return [...values].sort((a, b) => a - b)[Math.floor(values.length * part)] ?? 0;
}

describe('while a modest client waits for one request', () => {
  // This very process is the clients too: some turns pass before each of them sees what the server has sent.
  for (const greedy of [1, 8]) {
    test(`${greedy} greedy ones with large reads get some of theirs, and not all`, async (t) => {
      const device = await modestBeside(t, greedy, { type: Command.READ, length: MIB });
      const bytes = percentile(device.othersBytes.slice(1), 0.9);
      assert.ok(bytes <= 8 * MIB, `${bytes} bytes`);
    });

    test(`${greedy} greedy ones with small requests get some of theirs, and not all`, async (t) => {
      const device = await modestBeside(t, greedy, { type: Command.TRIM, length: 0x1000 });
      const requests = percentile(device.othersRequests.slice(1), 0.9);
      assert.ok(requests <= 2000, `${requests} requests`);
    });
  }
});

describe('room', () => {
  test('is there for a newcomer, whatever others have under way', async (t) => {
    const device = new HeldMemoryDevice(64 * MIB);
    const { attach, server } = await startServer(t, device, { inFlightBytesMax: 16 * MIB });
    const greedy = await Promise.all(Array.from({ length: 3 }, () => attach()));
    for (const client of greedy) {
      for (let i = 0; i < 64; i++) client.send({ type: Command.READ, offset: i * MIB, length: MIB });
    }
    // A quarter each where they come at once; one after the other, a half, half of what was left, and half of that.
    await until(() => server.bytesInFlight >= 12 * MIB);
    const newcomer = await attach();
    newcomer.send({ type: Command.READ, offset: 7, length: MIB });
    await until(() => device.held.some(({ offset }) => offset === 7));
    device.release(7);
    assert.equal((await newcomer.reply()).data.length, MIB);
  });

  test('of one volume is not that of another: what is stuck there is not waited for here', async (t) => {
    const [stuck, fine] = [new HeldMemoryDevice(64 * MIB), new MemoryDevice(64 * MIB)];
    const { attach, server } = await startServer(
      t,
      [
        { name: 'stuck', description: '', device: stuck },
        { name: 'fine', description: '', device: fine },
      ],
      { inFlightBytesMax: 16 * MIB },
    );
    const holders = await Promise.all(Array.from({ length: 6 }, () => attach({ name: 'stuck' })));
    for (const client of holders) {
      for (let i = 0; i < 4; i++) client.send({ type: Command.WRITE, offset: i * MIB, payload: Buffer.alloc(MIB) });
    }
    await until(() => server.connections().filter(({ bytesInFlight }) => bytesInFlight >= MIB).length === 6);
    const free = await attach({ name: 'fine' });
    for (const length of [512, MIB, 32 * MIB]) {
      assert.equal((await free.request({ type: Command.READ, length })).data.length, length);
      const payload = Buffer.alloc(length, 5);
      assert.equal((await free.request({ type: Command.WRITE, payload })).errno, NbdErrno.NONE);
    }
  });

  test('with the device is there for a newcomer, however deep the queues of others', async (t) => {
    const device = new HeldMemoryDevice(MIB);
    const { attach } = await startServer(t, device);
    const greedy = await Promise.all(Array.from({ length: 4 }, () => attach()));
    for (const client of greedy) {
      for (let i = 0; i < 500; i++) client.send({ type: Command.READ, offset: i, length: 1 });
    }
    await until(() => device.held.length >= 190);
    const newcomer = await attach();
    newcomer.send({ type: Command.READ, offset: 1000, length: 1 });
    await until(() => device.held.some(({ offset }) => offset === 1000));
    assert.ok(device.held.length <= 256, `${device.held.length} requests are with the device`);
  });
});

describe('places', () => {
  test('are not kept from clients by those who only connect', async (t) => {
    const { attach, connect, server } = await startServer(t, new MemoryDevice(MIB), { connectionsMax: 4 });
    const attached = [await attach(), await attach()];
    const idle: RawClient[] = [];
    for (let i = 0; i < 10; i++) {
      const client = await connect();
      await client.greet();
      idle.push(client);
    }
    assert.equal(server.connections().length, 4);
    attached.push(await attach());
    for (const client of idle.slice(0, 8)) assert.equal((await client.untilClosed()).length, 0);
    for (const client of attached) assert.equal((await client.request({ type: Command.READ, length: 16 })).errno, 0);
    const last = idle.at(-1);
    assert.ok(last !== undefined);
    last.write(optionBytes(0x1234));
    assert.equal((await last.optionAnswers(0x1234)).length, 1, 'who came last has still its time');
  });
});
