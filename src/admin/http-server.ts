/** The HTTP server at admin.listen: a table of routes, and bounds on whoever asks. */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import { describeError, isStorageError, StorageError } from '../lib/errors.ts';
import type { Log } from '../lib/log.ts';
import { systemReason } from '../lib/system-reason.ts';
import { isAllowedHost } from './allowed-host.ts';
import { ChangeGuard } from './change-guard.ts';
import { hangUpOf } from './hang-up.ts';
import { type HttpAnswer, type HttpRoutes, type HttpStream, json, plain } from './http-routes.ts';
import { HTTP_STATUS } from './http-status.ts';
import { readJsonObject } from './read-json.ts';

export interface HttpLimits {
  /** Further connections are closed. */
  readonly connectionsMax: number;
  /** How long a client may take to send its request. */
  readonly requestTimeoutMs: number;
  /** From a request until its answer has been taken; a stream that has begun is not bound by it. */
  readonly answerTimeoutMs: number;
  /** The same for what changes something, which may take as long as the bucket does. */
  readonly changeTimeoutMs: number;
  /** How long a connection may stay without a request. */
  readonly idleTimeoutMs: number;
}

export const DEFAULT_HTTP_LIMITS: HttpLimits = {
  connectionsMax: 64,
  requestTimeoutMs: 10_000,
  answerTimeoutMs: 30_000,
  changeTimeoutMs: 10 * 60_000,
  idleTimeoutMs: 5_000,
};

export interface HttpServerOptions {
  readonly routes: HttpRoutes;
  /** Names of this machine, in lower case: see isAllowedHost. */
  readonly hosts: readonly string[];
  /** Whoever wants to change something must know it; null: nobody can. */
  readonly token: string | null;
  readonly log: Log;
  readonly limits?: Partial<HttpLimits>;
}

const HEADER_BYTES_MAX = 8 * 1024;
/** A client that sends slowly is given up no later than this after its time. */
const CHECK_INTERVAL_MS = 1_000;

/** Nothing that is told here is for other pages, to be kept, or to be taken for anything else. */
const SAFE_HEADERS = {
  'cache-control': 'no-store',
  'content-security-policy': "default-src 'none'; frame-ancestors 'none'",
  'cross-origin-opener-policy': 'same-origin',
  'cross-origin-resource-policy': 'same-origin',
  'referrer-policy': 'no-referrer',
  'x-content-type-options': 'nosniff',
};

export class HttpServer {
  readonly #options: HttpServerOptions;
  readonly #limits: HttpLimits;
  readonly #guard: ChangeGuard;
  readonly #server: Server;
  /** Connections with a request that has not been answered. */
  readonly #answering = new WeakSet<Socket>();
  #address: { readonly host: string; readonly port: number } | null = null;

  constructor(options: HttpServerOptions) {
    this.#options = options;
    this.#guard = new ChangeGuard(options.token);
    const limits = { ...DEFAULT_HTTP_LIMITS, ...options.limits };
    this.#limits = limits;
    this.#server = createServer(
      {
        maxHeaderSize: HEADER_BYTES_MAX,
        headersTimeout: limits.requestTimeoutMs,
        requestTimeout: limits.requestTimeoutMs,
        keepAliveTimeout: limits.idleTimeoutMs,
        connectionsCheckingInterval: Math.min(CHECK_INTERVAL_MS, limits.requestTimeoutMs),
      },
      (request, response) => void this.#answer(request, response),
    );
    this.#server.maxConnections = limits.connectionsMax;
  }

  /** Where it listens, with the real port; null before it does. */
  get address(): { readonly host: string; readonly port: number } | null {
    return this.#address;
  }

  /** Rejects with HELD where somebody else listens there, INVALID where nobody can. */
  async listen(host: string, port: number): Promise<void> {
    try {
      await new Promise<void>((resolve, reject) => {
        this.#server.once('error', reject);
        this.#server.listen({ host, port }, () => {
          this.#server.removeListener('error', reject);
          resolve();
        });
      });
    } catch (cause) {
      const held = (cause as NodeJS.ErrnoException).code === 'EADDRINUSE';
      const reason = held ? 'is in use by somebody else' : `cannot be listened on: ${systemReason(cause)}`;
      const remedy = 'set admin.listen to another address, or to null for none';
      throw new StorageError(held ? 'HELD' : 'INVALID', `${host}:${port} ${reason}; ${remedy}`, { cause });
    }
    this.#server.on('error', (error) => {
      this.#options.log.error('admin.listen cannot accept a connection', { error: describeError(error) });
    });
    const bound = this.#server.address();
    if (bound === null || typeof bound === 'string') throw new Error('a TCP server without an address');
    this.#address = { host: bound.address, port: bound.port };
  }

  /** Cuts whoever is connected. */
  async close(): Promise<void> {
    if (this.#address === null) return;
    this.#address = null;
    const closed = new Promise((resolve) => this.#server.close(resolve));
    this.#server.closeAllConnections();
    await closed;
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { answerTimeoutMs, changeTimeoutMs } = this.#limits;
    const { socket } = request;
    // Of requests that are not asked one after the other a single packet holds two thousand, and all would be answered at once.
    if (socket.destroyed || this.#answering.has(socket)) {
      socket.destroy();
      return;
    }
    this.#answering.add(socket);
    response.once('close', () => this.#answering.delete(socket));
    // A client that does not take its answer holds memory and a place.
    const giveUp = setTimeout(
      () => {
        this.#options.log.debug('an HTTP client did not take its answer');
        socket.destroy();
      },
      request.method === 'POST' ? changeTimeoutMs : answerTimeoutMs,
    );
    response.once('close', () => clearTimeout(giveUp));
    response.on('error', () => {});
    try {
      const answer = await this.#respond(request, hangUpOf(response));
      if ('open' in answer) {
        clearTimeout(giveUp);
        stream(request, response, answer);
        return;
      }
      const body = Buffer.from(answer.body);
      response.writeHead(answer.status, {
        ...SAFE_HEADERS,
        ...answer.headers,
        // What came with the request and was not asked for is not waited for.
        ...(hasBody(request) && !request.complete ? { connection: 'close' } : {}),
        'content-type': answer.contentType,
        'content-length': body.length,
      });
      response.end(request.method === 'HEAD' ? undefined : body);
    } catch (error) {
      // The path is one of ours by now: what a client makes up does not get into the log.
      this.#options.log.error('an HTTP request failed unexpectedly', { error: describeError(error) });
      if (response.headersSent) response.destroy();
      else response.writeHead(500, { ...SAFE_HEADERS, connection: 'close' }).end('internal error\n');
    }
  }

  async #respond(request: IncomingMessage, gone: AbortSignal): Promise<HttpAnswer | HttpStream> {
    const { routes, hosts } = this.#options;
    const target = request.url ?? '';
    const queryAt = target.indexOf('?');
    const path = queryAt < 0 ? target : target.slice(0, queryAt);
    if (!isAllowedHost(request.headers.host, hosts)) {
      return plain(421, 'this host name is not known here: see admin.hosts', { connection: 'close' });
    }
    const route = Object.hasOwn(routes, path) ? routes[path] : undefined;
    if (route === undefined) return plain(404, 'there is nothing here');
    const method = request.method === 'HEAD' ? 'GET' : request.method;
    const handler = method === 'GET' || method === 'POST' ? route[method] : undefined;
    if (handler === undefined) {
      const allowed = Object.keys(route).flatMap((name) => (name === 'GET' ? ['GET', 'HEAD'] : [name]));
      return plain(405, 'not with this method', { allow: allowed.join(', ') });
    }
    const query = new URLSearchParams(queryAt < 0 ? '' : target.slice(queryAt));
    try {
      if (method === 'GET') return await handler({ query, body: {}, gone });
      const refusal = this.#guard.refusal(request.headers);
      if (refusal !== null) {
        const { status, message, headers } = refusal;
        return { ...failed('ACCESS_DENIED', message), status, headers };
      }
      return await handler({ query, body: await readJsonObject(request), gone });
    } catch (error) {
      if (!isStorageError(error)) throw error;
      return failed(error.code, describeError(error));
    }
  }
}

/** As the control socket tells it. */
function failed(code: keyof typeof HTTP_STATUS, message: string): HttpAnswer {
  return json(HTTP_STATUS[code], { error: { code, message } });
}

function stream(request: IncomingMessage, response: ServerResponse, { contentType, open }: HttpStream): void {
  response.writeHead(200, { ...SAFE_HEADERS, 'content-type': contentType, 'x-accel-buffering': 'no' });
  if (request.method === 'HEAD') response.end();
  else open(response);
}

function hasBody({ headers }: IncomingMessage): boolean {
  return headers['transfer-encoding'] !== undefined || (headers['content-length'] ?? '0') !== '0';
}
