/** Clients that read and write a disk at random, several requests at once on several connections, against a DiskModel. */

import { AllocationState, Chunk, Command, CommandFlag } from '../../../src/nbd/constants.ts';
import type { ServerAddress } from '../../../src/nbd/listen.ts';
import { RawClient, type Reply, type Request } from '../../conformance/nbd/raw-client.ts';
import { formatSectors, parseSector, SECTOR_BYTES } from '../../support/sectors.ts';
import type { DiskModel } from './disk-model.ts';

export interface LoadOptions {
  readonly address: ServerAddress;
  readonly model: DiskModel;
  readonly random: () => number;
  readonly exportName: string;
  /** Requests under way on each connection. */
  readonly depth?: number;
  /** The longest request but for whole blocks. */
  readonly sectorsMax?: number;
  readonly blockBytes: number;
}

interface Pending {
  readonly request: Request;
  /** With the reply; null where the connection ended. Throws where the reply cannot be right. */
  settle(reply: Reply | null): void;
}

/** Requests of a verifying read. */
const VERIFY_BYTES = 1024 * 1024;
const DEPTH = 8;
const SECTORS_MAX = 128;

export class LoadCounts {
  answered = 0;
  /** By NBD error number. */
  readonly errors = new Map<number, number>();
  /** Requests that were never answered. */
  unanswered = 0;

  get failed(): number {
    return [...this.errors.values()].reduce((sum, count) => sum + count, 0);
  }
}

let connections = 0;

/** One client. Its connection has a number of its own, which the model knows it by. */
export class DiskLoad {
  readonly #options: LoadOptions;
  readonly #client: RawClient;
  readonly #asksStatus: boolean;
  readonly #connection = ++connections;
  readonly #pending = new Map<bigint, Pending>();
  #cookie = 0n;
  #stopping = false;
  readonly counts = new LoadCounts();
  /** Resolves when it has been stopped and answered, or its connection has ended; rejects where an answer is wrong. */
  ended: Promise<void> = Promise.resolve();

  private constructor(options: LoadOptions, client: RawClient, asksStatus: boolean) {
    this.#options = options;
    this.#client = client;
    this.#asksStatus = asksStatus;
  }

  /** Attaches, and asks for nothing yet. */
  static async attach(options: LoadOptions): Promise<DiskLoad> {
    const lot = options.random();
    const framing = lot < 0.35 ? 'structured' : lot < 0.65 ? 'extended' : 'simple';
    const asksStatus = framing !== 'simple';
    const client = await RawClient.attach(options.address, {
      name: options.exportName,
      framing,
      ...(asksStatus ? { contexts: ['base:allocation'] } : {}),
    });
    return new DiskLoad(options, client, asksStatus);
  }

  begin(): void {
    this.ended = this.#run();
    // Looked at when the load is stopped.
    this.ended.catch(() => {});
  }

  get pending(): number {
    return this.#pending.size;
  }

  /** Sends nothing new and waits for what is under way. */
  async stop(): Promise<void> {
    this.#stopping = true;
    if (this.#pending.size === 0) this.#client.close();
    await this.ended;
  }

  async #run(): Promise<void> {
    try {
      for (let at = 0; at < (this.#options.depth ?? DEPTH); at++) this.#sendNext();
      while (this.#pending.size > 0) {
        const reply = await this.#receive();
        if (reply === null) return;
        this.#take(reply);
        if (!this.#stopping) this.#sendNext();
      }
    } finally {
      this.counts.unanswered = this.#pending.size;
      for (const { settle } of this.#pending.values()) settle(null);
      this.#client.close();
    }
  }

  /** Null where the connection has ended. */
  async #receive(): Promise<Reply | null> {
    try {
      return await this.#client.reply((cookie) => {
        const request = this.#pending.get(cookie)?.request;
        return request?.type === Command.READ ? Number(request.length ?? 0) : 0;
      });
    } catch (error) {
      if (error instanceof Error && error.message === 'the server closed') return null;
      throw error;
    }
  }

  #take(reply: Reply): void {
    const pending = this.#pending.get(reply.cookie);
    if (pending === undefined) throw new Error(`a reply to request ${reply.cookie}, which is not under way`);
    this.#pending.delete(reply.cookie);
    this.counts.answered++;
    const { errors } = this.counts;
    if (reply.errno !== 0) errors.set(reply.errno, (errors.get(reply.errno) ?? 0) + 1);
    pending.settle(reply);
  }

  #sendNext(): void {
    const { random } = this.#options;
    const kind = random();
    if (kind < 0.45) this.#write();
    else if (kind < 0.75) this.#read();
    else if (kind < 0.83) this.#zero(Command.WRITE_ZEROES);
    else if (kind < 0.91) this.#zero(Command.TRIM);
    else if (kind < 0.96 || !this.#asksStatus) this.#flush();
    else this.#blockStatus();
  }

  #send(request: Request, settle: Pending['settle']): void {
    const cookie = ++this.#cookie;
    this.#pending.set(cookie, { request, settle });
    this.#client.send({ ...request, cookie });
  }

  #write(): void {
    const { model } = this.#options;
    const { first, sectors } = this.#pickRange();
    const payload = formatSectors(first, sectors, model.nextSequence);
    const flags = this.#pickFua();
    const fua = flags !== 0;
    const write = model.beginWrite(this.#connection, first, sectors, 'write', { zeroes: false, fua });
    this.#send({ type: Command.WRITE, flags, offset: first * SECTOR_BYTES, payload }, (reply) =>
      model.endWrite(write, reply?.errno === 0),
    );
  }

  #zero(type: number): void {
    const { model, random } = this.#options;
    const { first, sectors } = this.#pickRange();
    const what = type === Command.TRIM ? 'trim' : 'zero';
    const fua = this.#pickFua();
    const write = model.beginWrite(this.#connection, first, sectors, what, { zeroes: true, fua: fua !== 0 });
    const noHole = type === Command.WRITE_ZEROES && random() < 0.3 ? CommandFlag.NO_HOLE : 0;
    const flags = fua | noHole;
    this.#send({ type, flags, offset: first * SECTOR_BYTES, length: sectors * SECTOR_BYTES }, (reply) =>
      model.endWrite(write, reply?.errno === 0),
    );
  }

  #flush(): void {
    const { model } = this.#options;
    const flushed = model.beginFlush(this.#connection);
    this.#send({ type: Command.FLUSH, length: 0 }, (reply) => {
      if (reply?.errno === 0) model.endFlush(flushed);
    });
  }

  #read(): void {
    const { first, sectors } = this.#pickRange();
    readSectors(this.#options.model, this.#connection, first, sectors, (request, settle) =>
      this.#send(request, settle),
    );
  }

  /** What is said to be zeros must be. */
  #blockStatus(): void {
    const { model } = this.#options;
    const { first, sectors } = this.#pickRange();
    const read = model.beginRead(this.#connection, first, sectors);
    const request = {
      type: Command.BLOCK_STATUS,
      offset: first * SECTOR_BYTES,
      length: sectors * SECTOR_BYTES,
    };
    this.#send(request, (reply) => {
      if (reply === null || reply.errno !== 0) return model.giveUpRead(read);
      const extents = reply.chunks.find(({ type }) => type === Chunk.BLOCK_STATUS)?.data ?? Buffer.alloc(0);
      const zeros = new Set<number>();
      for (let at = 4, sector = first; at < extents.length; at += 8) {
        const end = sector + Math.floor(extents.readUInt32BE(at) / SECTOR_BYTES);
        const isZero = (extents.readUInt32BE(at + 4) & AllocationState.ZERO) !== 0;
        for (; sector < end; sector++) if (isZero) zeros.add(sector);
      }
      model.endRead(read, (sector) => (zeros.has(sector) ? 0 : undefined));
    });
  }

  #pickFua(): number {
    return this.#options.random() < 0.2 ? CommandFlag.FUA : 0;
  }

  /** Often the same small part of the disk, so that requests meet; sometimes whole blocks. */
  #pickRange(): { first: number; sectors: number } {
    const { model, random, sectorsMax = SECTORS_MAX, blockBytes } = this.#options;
    const blockSectors = blockBytes / SECTOR_BYTES;
    const room = random() < 0.5 ? Math.min(model.sectors, 4 * Math.max(blockSectors, sectorsMax)) : model.sectors;
    if (random() < 0.15) {
      const count = Math.min(1 + Math.floor(random() * 3), room / blockSectors);
      const first = Math.floor(random() * (room / blockSectors - count + 1)) * blockSectors;
      return { first, sectors: count * blockSectors };
    }
    const sectors = Math.min(room, 1 + Math.floor(random() ** 3 * sectorsMax));
    return { first: Math.floor(random() * (room - sectors + 1)), sectors };
  }
}

function readSectors(
  model: DiskModel,
  connection: number,
  first: number,
  sectors: number,
  send: (request: Request, settle: Pending['settle']) => void,
  settle = false,
): void {
  const read = model.beginRead(connection, first, sectors);
  send({ type: Command.READ, offset: first * SECTOR_BYTES, length: sectors * SECTOR_BYTES }, (reply) => {
    if (reply === null || reply.errno !== 0) return model.giveUpRead(read);
    if (reply.data.length !== sectors * SECTOR_BYTES)
      throw new Error(`${reply.data.length} bytes, not ${sectors} sectors`);
    const valueIn = (sector: number): number => {
      const at = (sector - first) * SECTOR_BYTES;
      return parseSector(reply.data.subarray(at, at + SECTOR_BYTES), sector);
    };
    if (settle) model.settle(read, valueIn);
    else model.endRead(read, valueIn);
  });
}

export interface VerifyOptions {
  /** Bytes a request: what cannot be read is told in such pieces. */
  readonly stepBytes?: number;
  /** Called for what cannot be read; without it that is an error. */
  readonly onUnreadable?: (range: { readonly offset: number; readonly length: number; readonly errno: number }) => void;
}

/** Reads the whole disk while nobody else uses it, and holds the model to what is there. */
export async function verifyDisk(
  address: ServerAddress,
  exportName: string,
  model: DiskModel,
  { stepBytes = VERIFY_BYTES, onUnreadable }: VerifyOptions = {},
): Promise<void> {
  const client = await RawClient.attach(address, { name: exportName, framing: 'simple' });
  const connection = ++connections;
  try {
    const step = stepBytes / SECTOR_BYTES;
    for (let first = 0; first < model.sectors; first += step) {
      const sectors = Math.min(step, model.sectors - first);
      const held: { request?: Request; settle?: Pending['settle'] } = {};
      readSectors(
        model,
        connection,
        first,
        sectors,
        (request, settle) => Object.assign(held, { request, settle }),
        true,
      );
      if (held.request === undefined) throw new Error('no request was made');
      const reply = await client.request(held.request);
      if (reply.errno !== 0) {
        if (onUnreadable === undefined)
          throw new Error(`reading from sector ${first} failed with error ${reply.errno}`);
        onUnreadable({ offset: first * SECTOR_BYTES, length: sectors * SECTOR_BYTES, errno: reply.errno });
      }
      held.settle?.(reply);
    }
  } finally {
    client.close();
  }
}
