/** The control socket of a running appliance: JSON over HTTP on a unix socket that only its owner may open. */
import { once } from 'node:events';
import { rm } from 'node:fs/promises';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { finished } from 'node:stream/promises';
import { raceAbort } from '../lib/deadline.ts';
import { describeError, type ErrorCode, isStorageError, StorageError } from '../lib/errors.ts';
import type { Log } from '../lib/log.ts';
import { systemReason } from '../lib/system-reason.ts';
import { withUmask } from '../lib/with-umask.ts';
import { hangUpOf } from './hang-up.ts';
import { HTTP_STATUS } from './http-status.ts';
import { readJsonObject } from './read-json.ts';

/** The kernel's limit on the path of a unix socket, without its NUL (unix(7)). */
const SOCKET_PATH_BYTES_MAX = 107;
const REQUEST_TIMEOUT_MS = 10_000;
/** What closing waits for answers under way: whoever does not take theirs must not keep the appliance from ending. */
const CLOSE_TIMEOUT_MS = 5_000;

/**
 * Answers a request: gets its JSON body and returns what is sent as JSON. A StorageError becomes an HTTP error. `gone` aborts when whoever asked has
 * hung up: for work that is to end with that, or for waiting that is.
 */
export type ControlHandler = (body: Readonly<Record<string, unknown>>, gone: AbortSignal) => Promise<object>;

/** Handlers by method and path: `GET /v1/status`. */
export type ControlRoutes = Readonly<Record<string, ControlHandler>>;

export class ControlServer {
  readonly path: string;
  readonly #routes: ControlRoutes;
  readonly #log: Log;
  readonly #server: Server;
  /** Handlers at work, and their answers until they have been sent. */
  readonly #answering = new Set<Promise<void>>();

  constructor(path: string, routes: ControlRoutes, log: Log) {
    this.path = path;
    this.#routes = routes;
    this.#log = log;
    this.#server = createServer(
      { requestTimeout: REQUEST_TIMEOUT_MS },
      (request, response) => void this.#answer(request, response),
    );
    this.#server.on('error', (error) =>
      log.error('the control socket cannot accept a connection', { error: describeError(error) }),
    );
  }

  /**
   * The caller holds the lock of the directory: a socket that is there is a dead process's. INVALID for too long a path,
   * UNAVAILABLE where nothing can listen there.
   */
  async listen(): Promise<void> {
    if (Buffer.byteLength(this.path) > SOCKET_PATH_BYTES_MAX) {
      throw new StorageError(
        'INVALID',
        `the control socket's path ${this.path} is longer than ${SOCKET_PATH_BYTES_MAX} bytes: choose a shorter cache.dir`,
      );
    }
    try {
      await rm(this.path, { force: true });
      withUmask(0o177, () => this.#server.listen(this.path));
      await once(this.#server, 'listening');
    } catch (cause) {
      throw new StorageError('UNAVAILABLE', `cannot listen on ${this.path}: ${systemReason(cause)}`, { cause });
    }
  }

  /**
   * Waits for answers under way, for a while, and not for requests that have not been made in full; the socket goes with the
   * server.
   */
  async close(timeoutMs = CLOSE_TIMEOUT_MS): Promise<void> {
    if (!this.#server.listening) return;
    const closed = new Promise((resolve) => this.#server.close(resolve));
    const over = new AbortController();
    const timer = setTimeout(() => over.abort(), timeoutMs);
    await raceAbort(Promise.allSettled([...this.#answering]), over.signal);
    clearTimeout(timer);
    this.#server.closeAllConnections();
    await closed;
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const route = `${request.method} ${request.url}`;
    const gone = hangUpOf(response);
    try {
      const handler = Object.hasOwn(this.#routes, route) ? this.#routes[route] : undefined;
      if (handler === undefined) throw new StorageError('NOT_FOUND', `this appliance has nothing at ${route}`);
      const body = await readJsonObject(request);
      await this.#finish(handler(body, gone).then((answer) => send(response, 200, answer)));
    } catch (error) {
      if (!isStorageError(error)) this.#log.error('a control request failed unexpectedly', { route, error });
      const code: ErrorCode = isStorageError(error) ? error.code : 'UNAVAILABLE';
      await this.#finish(send(response, HTTP_STATUS[code], { error: { code, message: describeError(error) } }));
    }
  }

  async #finish(answering: Promise<void>): Promise<void> {
    this.#answering.add(answering);
    try {
      await answering;
    } finally {
      this.#answering.delete(answering);
    }
  }
}

/** Resolves once the answer has been handed to the kernel, or nobody is there to get it. */
async function send(response: ServerResponse, status: number, body: object): Promise<void> {
  response.writeHead(status, { 'content-type': 'application/json', connection: 'close' });
  response.end(`${JSON.stringify(body)}\n`);
  await finished(response).catch(() => {});
}
