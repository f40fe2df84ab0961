/**
 * A strict S3 server in memory, for tests and benchmarks: it checks every signature and digest, honours conditions and
 * ranges, refuses what it does not know, and goes wrong exactly where a test asks it to.
 */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { Authenticator } from './authentication.ts';
import { Bucket, type BucketAccess } from './bucket.ts';
import type { Holdings } from './dispatch.ts';
import { Exchange, type ExchangeContext } from './exchange.ts';
import { Faults } from './faults.ts';
import type { Operation } from './request.ts';
import { RequestLog, type RequestRecord } from './request-log.ts';

export interface S3ServerOptions {
  readonly host?: string;
  /** 0, the default: the kernel picks. */
  readonly port?: number;
  readonly region?: string;
  readonly accessKeyId?: string;
  readonly secretAccessKey?: string;
  /** Requests must carry it as x-amz-security-token. */
  readonly sessionToken?: string;
  /** `s3.localhost`: buckets are also found at `bucket.s3.localhost`. */
  readonly domain?: string;
  /** Accept UNSIGNED-PAYLOAD; by default only over TLS. */
  readonly unsignedPayload?: boolean;
  /** PEM. Makes it an https server. */
  readonly tls?: { readonly key: string; readonly cert: string };
  /** Buckets there from the start. */
  readonly buckets?: readonly string[];
  /** The longest body taken: 256 MiB unless said. */
  readonly bodyBytesMax?: number;
  /** At least this many of the last requests are remembered: 10,000 unless said. */
  readonly requestsMax?: number;
}

/** Milliseconds added to every request of a kind, for benchmarks. */
export interface Latency {
  getMs: number;
  headMs: number;
  putMs: number;
  deleteMs: number;
  listMs: number;
}

const BODY_BYTES_MAX = 256 * 1024 * 1024;
const REQUESTS_MAX = 10_000;

const LATENCY_OF: Readonly<Partial<Record<Operation, keyof Latency>>> = {
  GetObject: 'getMs',
  HeadObject: 'headMs',
  HeadBucket: 'headMs',
  PutObject: 'putMs',
  DeleteObject: 'deleteMs',
  DeleteObjects: 'deleteMs',
  ListObjects: 'listMs',
  ListObjectsV2: 'listMs',
};

/** Starts a server that listens when the promise resolves. Close it when done. */
export async function startS3Server(options: S3ServerOptions = {}): Promise<S3Server> {
  const server = new S3Server(options);
  await server.listen();
  return server;
}

export class S3Server {
  readonly region: string;
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
  readonly faults = new Faults();
  readonly latency: Latency = { getMs: 0, headMs: 0, putMs: 0, deleteMs: 0, listMs: 0 };
  readonly #options: S3ServerOptions;
  readonly #holdings: Holdings;
  readonly #server: Server;
  readonly #log: RequestLog;
  readonly #closing = new AbortController();
  #requestCount = 0;

  constructor(options: S3ServerOptions) {
    const { region = 'us-east-1', accessKeyId = 'TESTACCESSKEYID', secretAccessKey = 'test+secret/key' } = options;
    this.#options = options;
    this.region = region;
    this.accessKeyId = accessKeyId;
    this.secretAccessKey = secretAccessKey;
    this.#holdings = { region, buckets: new Map() };
    this.#log = new RequestLog(options.requestsMax ?? REQUESTS_MAX);
    for (const name of options.buckets ?? []) this.createBucket(name);
    const context = this.#context();
    const serve = (incoming: IncomingMessage, response: ServerResponse, expectsContinue: boolean): void => {
      const requestId = (++this.#requestCount).toString(16).toUpperCase().padStart(16, '0');
      void new Exchange(context, incoming, response, requestId, expectsContinue).run();
    };
    this.#server = options.tls === undefined ? createServer() : createTlsServer({ ...options.tls });
    // Clients keep idle connections and may use them again at any time.
    this.#server.keepAliveTimeout = 60_000;
    this.#server.on('request', (incoming, response) => serve(incoming, response, false));
    this.#server.on('checkContinue', (incoming, response) => serve(incoming, response, true));
  }

  /** Where clients reach it: `http://127.0.0.1:PORT`. */
  get url(): string {
    const { tls, host = '127.0.0.1' } = this.#options;
    return `${tls === undefined ? 'http' : 'https'}://${host}:${this.port}`;
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  /** The last requests, oldest first. */
  get requests(): readonly RequestRecord[] {
    return this.#log.records;
  }

  clearRequests(): void {
    this.#log.clear();
  }

  createBucket(name: string, access: BucketAccess = 'private'): Bucket {
    const bucket = new Bucket(name, access);
    this.#holdings.buckets.set(name, bucket);
    return bucket;
  }

  /** The bucket as it is, to look into and to change behind the clients' backs. */
  bucket(name: string): Bucket {
    const bucket = this.#holdings.buckets.get(name);
    if (bucket === undefined) throw new Error(`the S3 test server has no bucket ${name}`);
    return bucket;
  }

  /** Takes the bucket away with all it holds. */
  deleteBucket(name: string): void {
    this.#holdings.buckets.delete(name);
  }

  listen(): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#server.once('error', reject);
      this.#server.listen(this.#options.port ?? 0, this.#options.host ?? '127.0.0.1', () => {
        this.#server.off('error', reject);
        resolve();
      });
    });
  }

  /** Ends all connections, whatever is under way on them. The buckets can still be looked into. */
  async close(): Promise<void> {
    if (this.#closing.signal.aborted) return;
    this.#closing.abort();
    const closed = new Promise((resolve) => this.#server.close(resolve));
    this.#server.closeAllConnections();
    this.faults.close();
    await closed;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  #context(): ExchangeContext {
    const { sessionToken, unsignedPayload, tls, domain, bodyBytesMax } = this.#options;
    const { accessKeyId, secretAccessKey, region } = this;
    const credentials = { accessKeyId, secretAccessKey, ...(sessionToken === undefined ? {} : { sessionToken }) };
    return {
      authenticator: new Authenticator({
        credentials: [credentials],
        region,
        unsignedPayload: unsignedPayload ?? tls !== undefined,
      }),
      faults: this.faults,
      holdings: this.#holdings,
      domain: domain ?? null,
      bodyBytesMax: bodyBytesMax ?? BODY_BYTES_MAX,
      closing: this.#closing.signal,
      latencyMs: ({ op }) => {
        const kind = LATENCY_OF[op];
        return kind === undefined ? 0 : this.latency[kind];
      },
      remember: (request) => this.#log.add(request),
    };
  }
}
