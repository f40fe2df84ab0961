/**
 * The connections to S3. All of an agent's receive into one piece of memory: the parser of HTTP has copied from it what it keeps by
 * the time the chunk has been handed to it. A socket otherwise receives each chunk into 64 KiB of its own for the collector, and
 * that took half of the CPU time of a GET of 1 MiB.
 */
import { type AgentOptions, Agent as HttpAgent } from 'node:http';
import { Agent as HttpsAgent, type AgentOptions as HttpsAgentOptions } from 'node:https';
import type { OnReadOpts } from 'node:net';
import type { Duplex } from 'node:stream';
import { StorageError } from '../../lib/errors.ts';

/** What one read takes from a connection at most. */
const RECEIVE_BYTES = 256 * 1024;

type CreateConnection = HttpAgent['createConnection'];

class ReceivingHttpAgent extends HttpAgent {
  readonly #memory = receiveMemory();

  override createConnection(...[options, callback]: Parameters<CreateConnection>): ReturnType<CreateConnection> {
    return connect(this.#memory, (onread) => super.createConnection({ ...options, ...onread }, callback));
  }
}

class ReceivingHttpsAgent extends HttpsAgent {
  readonly #memory = receiveMemory();

  override createConnection(...[options, callback]: Parameters<CreateConnection>): ReturnType<CreateConnection> {
    return connect(this.#memory, (onread) => super.createConnection({ ...options, ...onread }, callback));
  }
}

export function createHttpAgent(options: AgentOptions): HttpAgent {
  return copiesBodies() ? new ReceivingHttpAgent(options) : new HttpAgent(options);
}

export function createHttpsAgent(options: HttpsAgentOptions): HttpsAgent {
  return copiesBodies() ? new ReceivingHttpsAgent(options) : new HttpsAgent(options);
}

/**
 * A piece of a body, which is to be looked at later. Shared memory is what connections receive into, and nothing else here: a piece of
 * that would change under us, and is refused.
 */
export function checkKept(chunk: Buffer, what: string): Buffer {
  if (!(chunk.buffer instanceof SharedArrayBuffer)) return chunk;
  throw new StorageError('UNSUPPORTED', `${what} failed: Node ${process.version} does not copy what it receives`);
}

/** That the parser copies is no promise of Node, and is tested for this version. Elsewhere sockets receive as they do by themselves. */
function copiesBodies(): boolean {
  return process.versions.node.startsWith('24.');
}

/** Shared, so that `checkKept` can tell it from any other. */
function receiveMemory(): Buffer<SharedArrayBuffer> {
  return Buffer.from(new SharedArrayBuffer(RECEIVE_BYTES));
}

function connect(
  memory: Buffer,
  create: (options: { onread: OnReadOpts }) => Duplex | null | undefined,
): ReturnType<CreateConnection> {
  const onread: OnReadOpts = {
    buffer: memory,
    callback: (length, buffer) => {
      connection?.emit('data', buffer.subarray(0, length));
      return true;
    },
  };
  const connection = create({ onread });
  return connection;
}
