/** An NBD client for tests: it sends exactly what it is told, right or wrong, and reads only when asked. */
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { type ConnectionOptions, connect as connectTls, type TLSSocket } from 'node:tls';
import {
  CHUNK_DONE,
  Chunk,
  CommandFlag,
  EXTENDED_REPLY_MAGIC,
  EXTENDED_REQUEST_MAGIC,
  HandshakeFlag,
  NBD_MAGIC,
  OPTION_MAGIC,
  OPTION_REPLY_MAGIC,
  Option,
  OptionReply,
  REQUEST_MAGIC,
  SIMPLE_REPLY_MAGIC,
  STRUCTURED_REPLY_MAGIC,
} from '../../../src/nbd/constants.ts';
import type { ServerAddress } from '../../../src/nbd/listen.ts';
import type { Framing } from '../../../src/nbd/wire.ts';

export interface OptionAnswer {
  readonly type: number;
  readonly data: Buffer;
}

export interface ReplyChunk {
  readonly type: number;
  readonly data: Buffer;
  /** The request's, which an extended reply tells. */
  readonly offset?: bigint;
}

export interface Reply {
  readonly cookie: bigint;
  readonly errno: number;
  readonly framing: Framing;
  /** Text of a structured error. */
  readonly text: string;
  /** Of a structured or extended reply, in order. */
  readonly chunks: readonly ReplyChunk[];
  /** What a READ returned. */
  readonly data: Buffer;
}

export interface Request {
  readonly type: number;
  readonly flags?: number;
  readonly cookie?: bigint;
  readonly offset?: bigint | number;
  /** Of the payload where there is one and this is left out. Beyond 32 bits only in an extended request. */
  readonly length?: bigint | number;
  readonly payload?: Buffer;
  readonly magic?: number;
}

const u16 = (value: number): Buffer => {
  const bytes = Buffer.alloc(2);
  bytes.writeUInt16BE(value);
  return bytes;
};

const u32 = (value: number): Buffer => {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
};

const magic = (words: readonly [number, number]): Buffer => Buffer.concat(words.map(u32));

export function clientFlagsBytes(flags: number): Buffer {
  return u32(flags);
}

export function optionBytes(option: number, data: Buffer = Buffer.alloc(0), length = data.length): Buffer {
  return Buffer.concat([magic(OPTION_MAGIC), u32(option), u32(length), data]);
}

/** Data of INFO and GO. */
export function infoData(name: string, infos: readonly number[] = []): Buffer {
  const nameBytes = Buffer.from(name);
  return Buffer.concat([u32(nameBytes.length), nameBytes, u16(infos.length), ...infos.map(u16)]);
}

/** Data of LIST_META_CONTEXT and SET_META_CONTEXT. */
export function metaContextData(name: string, queries: readonly string[]): Buffer {
  const string = (text: string): Buffer => Buffer.concat([u32(Buffer.byteLength(text)), Buffer.from(text)]);
  return Buffer.concat([string(name), u32(queries.length), ...queries.map(string)]);
}

/** A compact request, or an extended one: then a payload gets its flag by itself. */
export function requestBytes(request: Request, extended = false): Buffer {
  const { type, flags = 0, cookie = 1n, offset = 0, payload } = request;
  const length = request.length ?? payload?.length ?? 0;
  const header = Buffer.alloc(extended ? 32 : 28);
  header.writeUInt32BE(request.magic ?? (extended ? EXTENDED_REQUEST_MAGIC : REQUEST_MAGIC), 0);
  header.writeUInt16BE(extended && payload !== undefined ? flags | CommandFlag.PAYLOAD_LEN : flags, 4);
  header.writeUInt16BE(type, 6);
  header.writeBigUInt64BE(cookie, 8);
  header.writeBigUInt64BE(BigInt(offset), 16);
  if (extended) header.writeBigUInt64BE(BigInt(length), 24);
  else header.writeUInt32BE(Number(length), 24);
  return payload === undefined ? header : Buffer.concat([header, payload]);
}

/** The payload of an extended BLOCK_STATUS: how much of the device it is about, and in which contexts. */
export function queryPayload(length: bigint | number, ids: readonly number[]): Buffer {
  const head = Buffer.alloc(8);
  head.writeBigUInt64BE(BigInt(length));
  return Buffer.concat([head, ...ids.map(u32)]);
}

export class RawClient {
  socket: Socket;
  /** How requests are sent, once they are. */
  framing: Framing = 'simple';
  #closed = false;

  private constructor(socket: Socket) {
    this.socket = socket;
    this.#watch(socket);
  }

  #watch(socket: Socket): void {
    // Errors of the connection show as its end: tests ask for that.
    socket.on('error', () => {});
    socket.on('close', () => {
      this.#closed = true;
    });
    socket.on('readable', () => {});
  }

  static async connect(address: ServerAddress): Promise<RawClient> {
    const socket = 'path' in address ? connect(address.path) : connect(address.port, address.host);
    const client = new RawClient(socket);
    await once(socket, 'connect');
    return client;
  }

  /** Connects, and completes the handshake by GO. */
  static async attach(
    address: ServerAddress,
    options: { name?: string; framing?: Framing; contexts?: readonly string[] } = {},
  ): Promise<RawClient> {
    const { name = '', framing = 'structured', contexts } = options;
    const client = await RawClient.connect(address);
    await client.greet();
    client.framing = framing;
    if (framing === 'structured') await client.option(Option.STRUCTURED_REPLY);
    if (framing === 'extended') await client.option(Option.EXTENDED_HEADERS);
    if (contexts !== undefined) await client.option(Option.SET_META_CONTEXT, metaContextData(name, contexts));
    const answers = await client.option(Option.GO, infoData(name));
    if (answers.at(-1)?.type !== OptionReply.ACK) throw new Error(`GO was answered with ${answers.at(-1)?.type}`);
    return client;
  }

  write(bytes: Buffer): void {
    this.socket.write(bytes);
  }

  /** Exactly `length` bytes; rejects where the stream ends before. */
  async read(length: number): Promise<Buffer> {
    if (length === 0) return Buffer.alloc(0);
    for (;;) {
      const bytes: Buffer | null = this.socket.read(length);
      if (bytes?.length === length) return bytes;
      if (bytes !== null || this.socket.readableEnded || this.#closed) throw new Error('the server closed');
      await this.#change();
    }
  }

  /** Resolves with what was still to be read once the server has closed. */
  async untilClosed(): Promise<Buffer> {
    const rest: Buffer[] = [];
    for (;;) {
      const bytes: Buffer | null = this.socket.read();
      if (bytes !== null) rest.push(bytes);
      else if (this.socket.readableEnded || this.#closed) return Buffer.concat(rest);
      else await this.#change();
    }
  }

  close(): void {
    this.socket.destroy();
  }

  async greet(flags: number = HandshakeFlag.FIXED_NEWSTYLE | HandshakeFlag.NO_ZEROES): Promise<void> {
    const greeting = await this.read(18);
    if (!greeting.subarray(0, 16).equals(Buffer.concat([magic(NBD_MAGIC), magic(OPTION_MAGIC)]))) {
      throw new Error('not a newstyle greeting');
    }
    this.write(clientFlagsBytes(flags));
  }

  /** Sends an option and reads its answers, of which the last is an acknowledgement or an error. */
  async option(option: number, data?: Buffer, length?: number): Promise<OptionAnswer[]> {
    this.write(optionBytes(option, data, length));
    return this.optionAnswers(option);
  }

  async optionAnswers(option: number): Promise<OptionAnswer[]> {
    const answers: OptionAnswer[] = [];
    for (;;) {
      const header = await this.read(20);
      if (!header.subarray(0, 8).equals(magic(OPTION_REPLY_MAGIC))) throw new Error('not an option reply');
      if (header.readUInt32BE(8) !== option) throw new Error(`an answer to option ${header.readUInt32BE(8)}`);
      const type = header.readUInt32BE(12);
      answers.push({ type, data: await this.read(header.readUInt32BE(16)) });
      if (type === OptionReply.ACK || type >= 2 ** 31) return answers;
    }
  }

  /** STARTTLS and the TLS handshake, as seen from here: with TLS 1.3 the server may still refuse us after that. */
  async startTls(options: ConnectionOptions): Promise<TLSSocket> {
    const answers = await this.option(Option.STARTTLS);
    if (answers.at(-1)?.type !== OptionReply.ACK) throw new Error(`STARTTLS was answered with ${answers.at(-1)?.type}`);
    return this.secure(options);
  }

  /** The TLS handshake alone. Rejects where it fails. */
  async secure(options: ConnectionOptions): Promise<TLSSocket> {
    const plain = this.socket;
    plain.removeAllListeners('readable');
    const secured = connectTls({ ...options, socket: plain });
    this.socket = secured;
    const failed = new Promise<never>((_resolve, reject) => {
      secured.once('error', reject);
      secured.once('close', () => reject(new Error('the server closed in the TLS handshake')));
    });
    failed.catch(() => {});
    await Promise.race([once(secured, 'secureConnect'), failed]);
    this.#watch(secured);
    return secured;
  }

  send(request: Request): void {
    this.write(requestBytes(request, this.framing === 'extended'));
  }

  /** Sends a request and reads the next reply, which must be to it. `readLength`: of data after a simple reply. */
  async request(request: Request, readLength = request.type === 0 ? Number(request.length ?? 0) : 0): Promise<Reply> {
    this.send(request);
    const reply = await this.reply(() => readLength);
    if (reply.cookie !== (request.cookie ?? 1n)) throw new Error(`a reply to request ${reply.cookie}`);
    return reply;
  }

  /** The next reply. `dataLength` tells how much data follows a simple reply to a request that succeeded. */
  async reply(dataLength: (cookie: bigint) => number = () => 0): Promise<Reply> {
    const chunks: ReplyChunk[] = [];
    for (;;) {
      const head = await this.read(4);
      if (this.framing === 'extended') {
        if (head.readUInt32BE() !== EXTENDED_REPLY_MAGIC)
          throw new Error(`not an extended reply: ${head.toString('hex')}`);
        const rest = await this.read(28);
        const data = await this.read(Number(rest.readBigUInt64BE(20)));
        chunks.push({ type: rest.readUInt16BE(2), data, offset: rest.readBigUInt64BE(12) });
        if ((rest.readUInt16BE(0) & CHUNK_DONE) !== 0) return replyOf('extended', rest.readBigUInt64BE(4), chunks);
        continue;
      }
      if (head.readUInt32BE() === SIMPLE_REPLY_MAGIC) {
        const rest = await this.read(12);
        const errno = rest.readUInt32BE(0);
        const cookie = rest.readBigUInt64BE(4);
        const data = errno === 0 ? await this.read(dataLength(cookie)) : Buffer.alloc(0);
        return { cookie, errno, framing: 'simple', text: '', chunks, data };
      }
      if (head.readUInt32BE() !== STRUCTURED_REPLY_MAGIC) throw new Error(`not a reply: ${head.toString('hex')}`);
      const rest = await this.read(16);
      chunks.push({ type: rest.readUInt16BE(2), data: await this.read(rest.readUInt32BE(12)) });
      if ((rest.readUInt16BE(0) & CHUNK_DONE) !== 0) return replyOf('structured', rest.readBigUInt64BE(4), chunks);
    }
  }

  async #change(): Promise<void> {
    const { socket } = this;
    const controller = new AbortController();
    const { signal } = controller;
    await Promise.race(['readable', 'end', 'close'].map((event) => once(socket, event, { signal }).catch(() => {})));
    controller.abort();
  }
}

function replyOf(framing: Framing, cookie: bigint, chunks: readonly ReplyChunk[]): Reply {
  const error = chunks.find(({ type }) => type === Chunk.ERROR || type === Chunk.ERROR_OFFSET);
  const contents = chunks.map(({ type, data }) => {
    if (type === Chunk.OFFSET_DATA) return data.subarray(8);
    return type === Chunk.OFFSET_HOLE ? Buffer.alloc(data.readUInt32BE(8)) : Buffer.alloc(0);
  });
  return {
    cookie,
    errno: error?.data.readUInt32BE(0) ?? 0,
    framing,
    text: error?.data.toString('utf8', 6) ?? '',
    chunks,
    data: Buffer.concat(contents),
  };
}
