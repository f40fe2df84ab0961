/** The kernel's side of a FUSE session: makes requests byte by byte, feeds them, and takes the replies apart. */
import assert from 'node:assert/strict';
import { DEFAULT_LIMITS, type FuseLimits } from '../../../src/fuse/limits.ts';
import { ReceiveBuffers } from '../../../src/fuse/receive-buffers.ts';
import type { ReplySink } from '../../../src/fuse/replier.ts';
import { RECEIVE_BYTES, Session } from '../../../src/fuse/session.ts';
import type { Clock } from '../../../src/lib/clock.ts';
import { SystemClock } from '../../../src/lib/clock.ts';
import { type Log, silentLog } from '../../../src/lib/log.ts';
import type { BlockDevice } from '../../../src/volume/block-device.ts';

export interface Reply {
  readonly unique: bigint;
  readonly errno: number;
  readonly body: Buffer;
}

export interface KernelOptions {
  readonly clock?: Clock;
  readonly limits?: Partial<FuseLimits>;
  readonly log?: Log;
  /** Greets as a kernel of 7.45 would, unless told not to. */
  readonly greet?: boolean;
}

/** Numbers of so many bits, one after the other, as the structures of the protocol are. */
export type Field = { readonly u16: number } | { readonly u32: number } | { readonly u64: bigint | number } | Buffer;

export function pack(...fields: readonly Field[]): Buffer {
  return Buffer.concat(
    fields.map((field) => {
      if (Buffer.isBuffer(field)) return field;
      const bytes = Buffer.alloc('u16' in field ? 2 : 'u32' in field ? 4 : 8);
      if ('u16' in field) bytes.writeUInt16LE(field.u16);
      else if ('u32' in field) bytes.writeUInt32LE(field.u32 >>> 0);
      else bytes.writeBigUInt64LE(BigInt(field.u64));
      return bytes;
    }),
  );
}

export const u32 = (value: number): Field => ({ u32: value });
export const u64 = (value: bigint | number): Field => ({ u64: value });

/** fuse_read_in and fuse_write_in without the data. */
export function transfer(offset: bigint | number, size: number, openFlags = 0): Buffer {
  return pack(u64(0), u64(offset), u32(size), u32(0), u64(0), u32(openFlags), u32(0));
}

export class FakeKernel implements ReplySink {
  readonly session: Session;
  readonly buffers = new ReceiveBuffers(RECEIVE_BYTES);
  readonly replies: Reply[] = [];
  readonly devices = new Map<string, BlockDevice>();
  /** Files that cannot be opened, and why. */
  readonly closed = new Map<string, string>();
  /** What the session said about the greeting; undefined while it has said nothing. */
  negotiated: Error | null | undefined;
  progress = 0;
  #nextUnique = 2n;
  #waiting: (() => void)[] = [];

  constructor(devices: Readonly<Record<string, BlockDevice>>, options: KernelOptions = {}) {
    for (const [name, device] of Object.entries(devices)) this.devices.set(name, device);
    const fileOf = (name: string, device: BlockDevice) => ({ name, device, closed: this.closed.get(name) ?? null });
    this.session = new Session({
      files: {
        list: () => [...this.devices].map(([name, device]) => fileOf(name, device)),
        find: (name) => {
          const device = this.devices.get(name);
          return device === undefined ? undefined : fileOf(name, device);
        },
      },
      owner: { uid: 7, gid: 8 },
      limits: { ...DEFAULT_LIMITS, ...options.limits },
      replies: this,
      buffers: this.buffers,
      clock: options.clock ?? new SystemClock(),
      onNegotiated: (error) => {
        assert.notEqual(this.negotiated, null, 'agreed once');
        this.negotiated = error;
      },
      onProgress: () => {
        this.progress++;
      },
      log: options.log ?? silentLog,
    });
    if (options.greet !== false) this.call(26, 0, pack(u32(7), u32(45), u32(131072), u32(-1), Buffer.alloc(48)));
  }

  send(bytes: Buffer, length: number): void {
    this.#take(Buffer.from(bytes.subarray(0, length)));
    // The memory is another reply's at once, perhaps one of another mount.
    bytes.fill(0xee);
  }

  sendWithData(header: Buffer, data: Buffer): void {
    this.#take(Buffer.concat([header, data]));
    header.fill(0xee);
  }

  /** Sends a request and returns its identity. */
  request(opcode: number, node: number, body: Buffer = Buffer.alloc(0)): bigint {
    const unique = this.#nextUnique;
    this.#nextUnique += 2n;
    const header = pack(u32(40 + body.length), u32(opcode), u64(unique), u64(node), u32(0), u32(0), u32(1), u32(0));
    this.feed(Buffer.concat([header, body]));
    return unique;
  }

  feed(bytes: Buffer): void {
    const { current } = this.buffers;
    bytes.copy(current);
    this.session.receive(current, bytes.length);
  }

  /** A request that is answered at once. */
  call(opcode: number, node: number, body?: Buffer): Reply {
    const unique = this.request(opcode, node, body);
    const reply = this.replyTo(unique);
    assert.ok(reply, `opcode ${opcode} is answered at once`);
    return reply;
  }

  /** A request that may be answered later. */
  async callLater(opcode: number, node: number, body?: Buffer): Promise<Reply> {
    return this.reply(this.request(opcode, node, body));
  }

  replyTo(unique: bigint): Reply | undefined {
    return this.replies.find((reply) => reply.unique === unique);
  }

  async reply(unique: bigint): Promise<Reply> {
    for (;;) {
      const reply = this.replyTo(unique);
      if (reply !== undefined) return reply;
      await new Promise<void>((resolve) => this.#waiting.push(resolve));
    }
  }

  /** The node of a file. */
  lookup(name: string): number {
    const { errno, body } = this.call(1, 1, Buffer.from(`${name}\0`));
    assert.equal(errno, 0);
    return Number(body.readBigUInt64LE(0));
  }

  #take(bytes: Buffer): void {
    assert.equal(bytes.readUInt32LE(0), bytes.length, 'a reply tells its length');
    const errno = 0 - bytes.readInt32LE(4);
    assert.ok(errno >= 0 && errno < 512, 'an error the kernel accepts');
    const reply = { unique: bytes.readBigUInt64LE(8), errno, body: bytes.subarray(16) };
    assert.equal(this.replyTo(reply.unique), undefined, 'a request is answered once');
    this.replies.push(reply);
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const resolve of waiting) resolve();
  }
}
