/** The SDK's client, set up so that one request is one request on the wire, with a digest every server checks. */
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { Readable } from 'node:stream';
import { getCACertificates } from 'node:tls';
import { S3Client, type S3ClientConfig } from '@aws-sdk/client-s3';
import { NodeHttpHandler } from '@smithy/node-http-handler';
import { StorageError } from '../../lib/errors.ts';
import { systemReason } from '../../lib/system-reason.ts';
import { checkMayStart } from '../checks.ts';
import { checkKept, createHttpAgent, createHttpsAgent } from './s3-agents.ts';
import { ForeignAnswer } from './s3-errors.ts';
import type { S3StoreOptions } from './s3-options.ts';

/** What the SDK would print on the console is told by our own errors. */
const SILENT = { trace() {}, debug() {}, info() {}, warn() {}, error() {} };

/** @throws StorageError INVALID where the file of certificate authorities cannot be read */
export function createS3Client(options: S3StoreOptions): S3Client {
  const client = new S3Client({
    region: options.region,
    ...(options.endpoint === null ? {} : { endpoint: options.endpoint }),
    forcePathStyle: options.forcePathStyle,
    ...credentialsOf(options),
    // Retrying is a wrapper of ours, which counts, limits and reports every attempt.
    maxAttempts: 1,
    retryMode: 'standard',
    // Checksum headers and trailers are not understood by every server; Content-MD5 is, and is added below.
    requestChecksumCalculation: 'WHEN_REQUIRED',
    responseChecksumValidation: 'WHEN_REQUIRED',
    // Expect: 100-continue costs a round trip for every PUT.
    expectContinueHeader: false,
    followRegionRedirects: false,
    requestHandler: requestHandler(options),
    logger: SILENT,
    customUserAgent: 'bucketdisk',
  });
  addDigests(client);
  refuseForeignAnswers(client);
  return client;
}

function credentialsOf({ credentials, profile, anonymous }: S3StoreOptions): Partial<S3ClientConfig> {
  if (anonymous) {
    return {
      credentials: { accessKeyId: '', secretAccessKey: '' },
      signer: { sign: async (request) => request },
    };
  }
  if (credentials !== null) {
    const { accessKeyId, secretAccessKey, sessionToken } = credentials;
    return {
      credentials: { accessKeyId, secretAccessKey, ...(sessionToken === null ? {} : { sessionToken }) },
    };
  }
  return profile === null ? {} : { profile };
}

/** What a request of ours is sent with: the SDK hands it on to the handler. */
export interface SendOptions {
  readonly abortSignal: AbortSignal;
  readonly mayStart?: (() => boolean | Promise<boolean>) | undefined;
}

/** Asks whether the request may still be sent once it has been hashed and signed, which takes most of its time. */
class AskingHttpHandler extends NodeHttpHandler {
  override async handle(
    ...[request, options]: Parameters<NodeHttpHandler['handle']>
  ): ReturnType<NodeHttpHandler['handle']> {
    const { mayStart } = (options ?? {}) as Partial<SendOptions>;
    if (mayStart !== undefined) {
      const granted = await mayStart();
      checkMayStart({ mayStart: () => granted });
    }
    return super.handle(request, options);
  }
}

function requestHandler(options: S3StoreOptions): NodeHttpHandler {
  const agent = { keepAlive: true, maxSockets: options.concurrency, maxFreeSockets: options.concurrency };
  const ca = options.caFile === null ? {} : { ca: [...getCACertificates('default'), readCaFile(options.caFile)] };
  return new AskingHttpHandler({
    httpAgent: createHttpAgent(agent),
    httpsAgent: createHttpsAgent({ ...agent, ...ca, rejectUnauthorized: !options.insecure }),
    connectionTimeout: options.connectTimeoutMs,
    logger: SILENT,
  });
}

function readCaFile(path: string): string {
  let pem: string;
  try {
    pem = readFileSync(path, 'utf8');
  } catch (cause) {
    const what = `cannot read the certificate authorities in ${path} (store.caFile): ${systemReason(cause)}`;
    throw new StorageError('INVALID', what, { cause });
  }
  // TLS passes over whatever else is in it, and later trusts nothing.
  if (!/-----BEGIN (TRUSTED |X509 )?CERTIFICATE-----/.test(pem)) {
    throw new StorageError('INVALID', `${path} (store.caFile) has no certificate in PEM format`);
  }
  return pem;
}

interface OutgoingRequest {
  readonly method: string;
  readonly protocol: string;
  readonly headers: Record<string, string>;
  readonly body?: unknown;
}

/**
 * Gives every request with a body its Content-MD5, after the SDK has built it and before it is signed. The checksum the
 * SDK adds to DeleteObjects is dropped for it: servers that know only the older rule demand Content-MD5. Over TLS the
 * payload is not hashed a second time for the signature.
 */
function addDigests(client: S3Client): void {
  client.middlewareStack.add(
    (next) => async (args) => {
      const request = args.request as OutgoingRequest;
      const { body, headers } = request;
      if (Buffer.isBuffer(body) || (typeof body === 'string' && body !== '')) {
        headers['content-md5'] = createHash('md5').update(body).digest('base64');
        for (const name of Object.keys(headers)) {
          if (/^x-amz-(checksum-|sdk-checksum-algorithm$)/.test(name)) delete headers[name];
        }
        if (request.protocol === 'https:' && request.method === 'PUT') {
          headers['x-amz-content-sha256'] = 'UNSIGNED-PAYLOAD';
        }
      }
      return next(args);
    },
    { name: 'bucketdiskDigests', step: 'build', priority: 'low' },
  );
}

/** A page of a listing, or of deleted keys, with keys as long as they may be and every byte of them escaped, is smaller. */
const MESSAGE_BYTES_MAX = 16 * 1024 * 1024;

interface IncomingAnswer {
  readonly statusCode: number;
  readonly headers: Readonly<Record<string, string>>;
  body?: unknown;
}

/**
 * S3 answers in XML. A page of HTML with status 200, from a proxy or a portal, would otherwise read as a listing without
 * keys or a delete without errors, and 202 as a put that is done. Objects themselves may be of any type. What is no
 * object is read into memory by the SDK, and bounded here.
 */
function refuseForeignAnswers(client: S3Client): void {
  client.middlewareStack.add(
    (next, context) => async (args) => {
      const result = await next(args);
      const response = result.response as IncomingAnswer;
      const { statusCode, headers, body } = response;
      if (statusCode < 300 && !isS3Success(statusCode, headers['content-type'], context.commandName)) {
        const type = headers['content-type'] ?? 'no type';
        throw new ForeignAnswer(`answered ${statusCode} with ${type}`);
      }
      if (body instanceof Readable && (statusCode >= 300 || context.commandName !== 'GetObjectCommand')) {
        response.body = Readable.from(bounded(body));
      }
      return result;
    },
    { name: 'bucketdiskForeignAnswers', step: 'deserialize', priority: 'low' },
  );
}

function isS3Success(status: number, contentType: string | undefined, commandName: string | undefined): boolean {
  if (status !== 200 && status !== 204 && status !== 206) return false;
  return /^(Get|Head)ObjectCommand$/.test(commandName ?? '') || !contentType?.startsWith('text/html');
}

async function* bounded(body: Readable): AsyncGenerator<Buffer> {
  let bytes = 0;
  for await (const chunk of body as AsyncIterable<Buffer>) {
    bytes += chunk.length;
    if (bytes > MESSAGE_BYTES_MAX) {
      throw new ForeignAnswer(`answered with a message of more than ${MESSAGE_BYTES_MAX} bytes`);
    }
    yield checkKept(chunk, 'an answer');
  }
}
