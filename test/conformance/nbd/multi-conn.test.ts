/**
 * What MULTI_CONN promises: a flush on one connection makes durable whatever had been answered on any of them, and each of them
 * reads what any of them was answered to have written. Against a device that forgets on a power cut what was not flushed.
 */
import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import fc from 'fast-check';
import { Command, CommandFlag, NbdErrno, TransmissionFlag } from '../../../src/nbd/constants.ts';
import type { WriteOptions } from '../../../src/volume/block-device.ts';
import { MemoryDevice } from './memory-device.ts';
import { infoData, RawClient } from './raw-client.ts';
import { startServer } from './test-server.ts';

const SECTOR = 512;
const SECTORS = 16;

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

/** What was written reaches the medium by a flush, or at once where FUA asks for it; each answer takes a turn or more. */
class VolatileDevice extends MemoryDevice {
  readonly medium = Buffer.alloc(SECTOR * SECTORS);
  #turns = 0;

  constructor() {
    super(SECTOR * SECTORS);
    this.recordCalls = false;
  }

  override async write(offset: number, data: Buffer, options: WriteOptions): Promise<void> {
    await super.write(offset, data, options);
    if (options.fua) data.copy(this.medium, offset);
    await this.#takeTime();
  }

  override async flush(): Promise<void> {
    const written = Buffer.from(this.bytes);
    await this.#takeTime();
    // What has reached the medium meanwhile is newer.
    for (let at = 0; at < written.length; at += SECTOR) {
      if (written.readUInt32BE(at) > this.medium.readUInt32BE(at)) written.copy(this.medium, at, at, at + SECTOR);
    }
  }

  async #takeTime(): Promise<void> {
    this.#turns = (this.#turns * 7 + 3) % 5;
    for (let i = 0; i < this.#turns; i++) await turn();
  }
}

interface Step {
  readonly client: number;
  readonly kind: 'write' | 'fua' | 'flush' | 'read';
  readonly sector: number;
}

const steps = fc.array(
  fc.record({
    client: fc.nat({ max: 2 }),
    kind: fc.constantFrom('write', 'write', 'fua', 'flush', 'read') as fc.Arbitrary<Step['kind']>,
    sector: fc.nat({ max: SECTORS - 1 }),
  }),
  { minLength: 1, maxLength: 60 },
);

async function run(t: TestContext, sequence: readonly Step[]): Promise<void> {
  const device = new VolatileDevice();
  const { attach, server } = await startServer(t, device);
  const clients = [await attach(), await attach(), await attach()];
  /** The newest value of each sector that was answered, and the newest that a flush must have made durable. */
  const answered = new Array<number>(SECTORS).fill(0);
  const durable = new Array<number>(SECTORS).fill(0);
  let value = 0;
  const perform = async ({ client, kind, sector }: Step): Promise<void> => {
    const connection = clients[client] ?? assert.fail();
    const offset = sector * SECTOR;
    if (kind === 'flush') {
      const before = [...answered];
      assert.equal((await connection.request({ type: Command.FLUSH })).errno, NbdErrno.NONE);
      before.forEach((least, index) => {
        durable[index] = Math.max(durable[index] ?? 0, least);
      });
    } else if (kind === 'read') {
      const least = answered[sector] ?? 0;
      const { data } = await connection.request({ type: Command.READ, offset, length: SECTOR });
      assert.ok(data.readUInt32BE(0) >= least, 'it reads what was answered to anybody');
    } else {
      const payload = Buffer.alloc(SECTOR);
      payload.writeUInt32BE(++value);
      const written = value;
      const flags = kind === 'fua' ? CommandFlag.FUA : 0;
      assert.equal((await connection.request({ type: Command.WRITE, flags, offset, payload })).errno, NbdErrno.NONE);
      answered[sector] = Math.max(answered[sector] ?? 0, written);
      if (kind === 'fua') durable[sector] = Math.max(durable[sector] ?? 0, written);
    }
    // As after a power cut at this very moment.
    for (let i = 0; i < SECTORS; i++) {
      assert.ok(device.medium.readUInt32BE(i * SECTOR) >= (durable[i] ?? 0), `sector ${i} is durable`);
    }
  };
  // Each client does its steps one after the other; the clients go at the same time, a sector having one writer.
  const own = (index: number): Step[] =>
    sequence
      .filter(({ client }) => client === index)
      .map((step) =>
        step.kind === 'write' || step.kind === 'fua'
          ? { ...step, sector: (step.sector - (step.sector % 3) + index) % 15 }
          : step,
      );
  await Promise.all(
    clients.map(async (_, index) => {
      for (const step of own(index)) await perform(step);
    }),
  );
  for (const client of clients) client.close();
  await server.close({ deadlineMs: 1000 });
}

test('a flush on any connection covers what was answered on every one', async (t) => {
  await fc.assert(
    fc.asyncProperty(steps, (sequence) => run(t, sequence)),
    { numRuns: 60 },
  );
});

test('it is told to clients, also of an export that is only read', async (t) => {
  for (const readOnly of [false, true]) {
    const device = new MemoryDevice(4096);
    const { address } = await startServer(t, [{ name: 'disk', description: '', device, readOnly }]);
    const client = await RawClient.connect(address);
    t.after(() => client.close());
    await client.greet();
    const [info] = await client.option(7, infoData('disk'));
    const flags = info?.data.readUInt16BE(10) ?? 0;
    assert.notEqual(flags & TransmissionFlag.CAN_MULTI_CONN, 0);
    assert.equal((flags & TransmissionFlag.READ_ONLY) !== 0, readOnly);
  }
});
