/**
 * Reads a socket into buffers of our choice, so that a large payload arrives where it belongs. Node offers that (`onread`)
 * to sockets one makes, but not to those a server accepts; so the accepted socket's handle is given to a socket of our own.
 * That is not documented: where the handle is not as expected, plain `data` events do the same, a copy slower.
 */
import { Socket, type SocketConstructorOpts } from 'node:net';

export interface SocketReader {
  /** Where the next bytes are to be put; never empty. */
  nextBuffer(): Buffer;
  /** `length` bytes have arrived in `buffer`, which is good until this returns. False pauses until `resume`. */
  received(buffer: Buffer, length: number): boolean;
}

interface SocketWithHandle {
  _handle: { useUserBuffer?: unknown } | null;
}

/**
 * The socket to use in place of `accepted`, which must have been accepted with `pauseOnConnect`. It reads nothing before
 * `resume` is called on it.
 */
export function readInto(accepted: Socket, reader: SocketReader): Socket {
  const shell = accepted as unknown as SocketWithHandle;
  const handle = shell._handle;
  if (typeof handle?.useUserBuffer !== 'function') return readByEvents(accepted, reader);
  shell._handle = null;
  // The shell closes without its handle, which also tells the server that it need not wait for it.
  accepted.destroy();
  const options = {
    handle,
    allowHalfOpen: true,
    pauseOnCreate: true,
    onread: {
      buffer: () => reader.nextBuffer(),
      callback: (length: number, buffer: Buffer) => reader.received(buffer, length),
    },
  };
  return new Socket(options as unknown as SocketConstructorOpts);
}

/** The same by `data` events. */
export function readByEvents(socket: Socket, reader: SocketReader): Socket {
  socket.on('data', (chunk: Buffer) => {
    if (!reader.received(chunk, chunk.length)) socket.pause();
  });
  socket.pause();
  return socket;
}
