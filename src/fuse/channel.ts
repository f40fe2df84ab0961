/**
 * The kernel's FUSE device. One descriptor carries the requests and the replies of one mount. Node waits for it as for a
 * socket, in its own event loop, so that a request goes from the kernel to the device's cache and back on the thread that
 * owns the cache: handing it over from a thread that reads would cost more than answering it.
 *
 * Node opens only sockets, pipes and terminals for waiting. What it does with a pipe (epoll, read, close) is just what
 * this device needs, so the descriptor is given to the class that pipes have. That is not documented; where the class is
 * not as expected the channel says so and does not start.
 */
import { closeSync, constants, openSync, write, writeSync, writevSync } from 'node:fs';
import { Socket, type SocketConstructorOpts } from 'node:net';
import { endianness } from 'node:os';
import { StorageError } from '../lib/errors.ts';
import type { Log } from '../lib/log.ts';
import { systemReason } from '../lib/system-reason.ts';
import { QuietReader } from './quiet-reader.ts';
import { ReceiveBuffers } from './receive-buffers.ts';
import type { ReplySink } from './replier.ts';

const DEVICE = '/dev/fuse';

export interface ChannelReader {
  /** A request: the first `length` bytes of the current receive buffer. False: no further one until `resume`. */
  received(buffer: Buffer, length: number): boolean;
  /** There will be no more: the filesystem is unmounted (null), or the channel failed. */
  ended(error: Error | null): void;
}

interface PipeHandle {
  open(fd: number): number | undefined;
  readStop(): number;
}

type PipeClass = new (kind: number) => PipeHandle;

/** A pipe for data, and not one to listen on or to pass descriptors through. */
const PIPE_SOCKET = 0;

/** After one request that was waited for, so many more are taken if they are there already, before others, as NBD clients, have their turn ... */
const TAKEN_MORE_MAX = 7;
/** ... but none once all of them and the replies to them have had so many bytes: that takes its time, and waiting is little beside it. */
const TAKEN_BYTES_MAX = 256 * 1024;
/** Buffers that more can be taken into. A device that keeps the data of a write may have all of them for a while. */
const QUIET_BUFFERS = 4;

/** What the kernel says once nobody is at the other end. */
const ENDED_CODES: ReadonlySet<string> = new Set(['ENODEV', 'ECONNABORTED', 'ENOTCONN']);

export class FuseChannel implements ReplySink {
  /** For mount(8). It is closed with the channel. */
  readonly fd: number;
  /** Where requests are put. */
  readonly buffers: ReceiveBuffers;
  readonly #log: Log;
  readonly #quietReader: QuietReader | null;
  readonly #pieces: Buffer[] = [];
  #reader: ChannelReader | undefined;
  #socket: ChannelSocket | undefined;
  /** Of requests and replies, since one was waited for. */
  #movedBytes = 0;

  /** Opens the device. `receiveBytes`: what the largest request takes. Throws UNSUPPORTED where that cannot be. */
  constructor(receiveBytes: number, log: Log) {
    if (endianness() !== 'LE') throw new StorageError('UNSUPPORTED', 'FUSE is served on little-endian machines only');
    this.#log = log;
    try {
      this.fd = openSync(DEVICE, constants.O_RDWR);
    } catch (cause) {
      const advice =
        'load the module (modprobe fuse); a container needs --device /dev/fuse and the capability SYS_ADMIN; or set fuse.dir to null';
      throw new StorageError('UNSUPPORTED', `cannot open ${DEVICE}: ${systemReason(cause)}: ${advice}`, { cause });
    }
    this.#quietReader = QuietReader.open(this.fd, receiveBytes, QUIET_BUFFERS);
    if (this.#quietReader === null) log.debug('Node cannot look for requests without waiting: each will be waited for');
    this.buffers = new ReceiveBuffers(receiveBytes, this.#quietReader?.buffers);
  }

  /** Begins to read. To be called once something is mounted by way of `fd`: before that there is nothing to wait for. */
  start(reader: ChannelReader): void {
    this.#reader = reader;
    const handle = this.#pollable();
    const options = {
      handle,
      pauseOnCreate: true,
      onread: {
        // Asked for as soon as the callback has returned, and kept to until the next request is there.
        buffer: () => this.buffers.choose(),
        callback: (length: number, buffer: Buffer) => this.#take(reader, buffer, length),
      },
    };
    const socket = new ChannelSocket(handle, options as unknown as SocketConstructorOpts);
    this.#socket = socket;
    let failure: Error | null = null;
    socket.on('error', (error: NodeJS.ErrnoException) => {
      if (!ENDED_CODES.has(error.code ?? '')) failure = error;
    });
    socket.on('close', () => reader.ended(failure));
    socket.resume();
  }

  /**
   * Takes the request, and those that are there already: waiting for each by itself takes as long as answering a small one.
   * False as of `received`, and once the channel is closed.
   */
  #take(reader: ChannelReader, buffer: Buffer, length: number): boolean {
    if (buffer !== this.buffers.current) {
      // It may be a write's by now. Better no disk than a wrong one.
      this.#socket?.destroy(new Error(`Node ${process.version} has read into a buffer that it was not told to`));
      return false;
    }
    this.#movedBytes = length;
    if (!reader.received(buffer, length)) return false;
    const quietReader = this.#quietReader;
    if (quietReader === null) return true;
    for (let taken = 0; taken < TAKEN_MORE_MAX && this.#movedBytes < TAKEN_BYTES_MAX; taken++) {
      // Its number may be another file's once it is closed.
      if (this.#socket?.destroyed !== false) return false;
      const next = this.buffers.choose();
      const nextLength = quietReader.read(next);
      if (nextLength === 0) return true;
      this.#movedBytes += nextLength;
      if (!reader.received(next, nextLength)) return false;
    }
    return true;
  }

  /** Reads again after `received` had enough. */
  resume(): void {
    if (this.#socket?.destroyed === false) this.#socket.resume();
  }

  send(bytes: Buffer, length: number): void {
    // The descriptor is closed with the socket, and its number may be another file's by then.
    if (this.#socket?.destroyed !== false) return;
    this.#movedBytes += length;
    try {
      writeSync(this.fd, bytes, 0, length);
    } catch (error) {
      this.#writeFailed(error);
    }
  }

  sendWithData(header: Buffer, data: Buffer): void {
    if (this.#socket?.destroyed !== false) return;
    this.#pieces[0] = header;
    this.#pieces[1] = data;
    this.#movedBytes += data.length;
    try {
      writevSync(this.fd, this.#pieces);
    } catch (error) {
      this.#writeFailed(error);
    }
    this.#pieces.length = 0;
  }

  sendAside(bytes: Buffer, length: number, sent: () => void): boolean {
    const socket = this.#socket;
    if (socket?.destroyed !== false) return false;
    this.#movedBytes += length;
    socket.writing++;
    write(this.fd, bytes, 0, length, null, (error) => {
      if (error !== null) this.#writeFailed(error);
      socket.writingDone();
      sent();
    });
    return true;
  }

  /** Cuts the connection: programs that still have files open get ENOTCONN. */
  close(): void {
    if (this.#socket !== undefined) {
      this.#socket.destroy();
      return;
    }
    closeSync(this.fd);
    this.#reader?.ended(null);
  }

  #pollable(): PipeHandle {
    const handle = new (pipeClass())(PIPE_SOCKET);
    const error = handle.open(this.fd);
    if (error !== undefined && error !== 0)
      throw new StorageError('UNSUPPORTED', `cannot wait for ${DEVICE}: ${error}`);
    return handle;
  }

  #writeFailed(error: unknown): void {
    const { code } = error as NodeJS.ErrnoException;
    // ENOENT: the program that asked has gone, and nobody waits for the reply.
    if (code === 'ENOENT' || code === 'EPERM' || ENDED_CODES.has(code ?? '')) return;
    this.#log.error('the kernel refused a reply', { error: systemReason(error) });
  }
}

/**
 * Closes its descriptor only when no other thread writes to it any more: by then the number could be another file's, and that
 * would get the reply.
 */
class ChannelSocket extends Socket {
  readonly #handle: PipeHandle;
  /** Writes under way on other threads. */
  writing = 0;
  #whenWritten: () => void = () => {};

  constructor(handle: PipeHandle, options: SocketConstructorOpts) {
    super(options);
    this.#handle = handle;
  }

  writingDone(): void {
    if (--this.writing === 0) this.#whenWritten();
  }

  override _destroy(error: Error | null, callback: (error?: Error | null) => void): void {
    // Node takes what is read for a destroyed socket for an error, and its length for the error's number, which ends the process.
    this.#handle.readStop();
    if (this.writing === 0) super._destroy(error, callback);
    else this.#whenWritten = () => super._destroy(error, callback);
  }
}

/** The class of Node's pipes, which is not exported: a socket has one as soon as it is told to connect to a path. */
function pipeClass(): PipeClass {
  const socket = new Socket();
  socket.on('error', () => {});
  // A name in the abstract namespace that nobody listens on.
  socket.connect({ path: '\0bucketdisk/no-such-socket' });
  const made = (socket as unknown as { _handle?: { constructor?: unknown } })._handle?.constructor;
  socket.destroy();
  const isExpected = typeof made === 'function' && ['open', 'readStop'].every((name) => name in made.prototype);
  if (!isExpected) {
    throw new StorageError('UNSUPPORTED', `Node ${process.version} cannot wait for ${DEVICE}: set fuse.dir to null`);
  }
  return made as PipeClass;
}
