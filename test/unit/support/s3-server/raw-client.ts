/** A client that signs by itself and sends exactly what a test says, the wrong things included. */
import { createHash } from 'node:crypto';
import { type IncomingHttpHeaders, request } from 'node:http';
import type { S3Server } from '../../../support/s3-server/s3-server.ts';
import { formatAmzDate, signatureOf, signingKey } from '../../../support/s3-server/sigv4.ts';

export interface RawRequest {
  readonly method?: string;
  /** The path and query of the request line. */
  readonly target: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: Buffer | string;
  /** Date of the signature; now unless said. */
  readonly dateMs?: number;
  readonly secretAccessKey?: string;
  readonly accessKeyId?: string;
  readonly region?: string;
  /** The value of x-amz-content-sha256; that of the body unless said. */
  readonly payloadHash?: string;
  /** Headers sent and not signed. */
  readonly unsigned?: Readonly<Record<string, string>>;
  /** Send no signature at all. */
  readonly anonymous?: boolean;
}

export interface RawAnswer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly body: Buffer;
  readonly text: string;
  /** The Code of an error document. */
  readonly code: string | undefined;
  /** Whether the server asked for the body with 100 Continue. */
  readonly continued: boolean;
}

/** The headers of a request, its signature among them. */
export function signedHeaders(server: S3Server, raw: RawRequest): Record<string, string> {
  const { method = 'GET', target, dateMs = Date.now(), region = server.region } = raw;
  const { secretAccessKey = server.secretAccessKey, accessKeyId = server.accessKeyId } = raw;
  const payloadHash =
    raw.payloadHash ??
    createHash('sha256')
      .update(raw.body ?? '')
      .digest('hex');
  const amzDate = formatAmzDate(dateMs);
  const signed: Record<string, string> = {
    host: `127.0.0.1:${server.port}`,
    'x-amz-date': amzDate,
    'x-amz-content-sha256': payloadHash,
    ...raw.headers,
  };
  const names = Object.keys(signed).sort();
  const [rawPath = '', rawQuery = ''] = target.split('?', 2);
  const message = {
    method,
    rawPath,
    rawQuery,
    headers: new Map(names.map((name) => [name, [signed[name] ?? '']])),
  };
  const scope = { date: amzDate.slice(0, 8), region, service: 's3', signedHeaders: names };
  const key = signingKey(secretAccessKey, scope.date, region, 's3');
  const signature = signatureOf(message, scope, amzDate, payloadHash, key);
  const credential = `${accessKeyId}/${scope.date}/${region}/s3/aws4_request`;
  return {
    ...signed,
    authorization: `AWS4-HMAC-SHA256 Credential=${credential},SignedHeaders=${names.join(';')},Signature=${signature}`,
  };
}

/** Sends it over a connection of its own and takes the whole answer; rejects where the connection breaks. */
export function send(server: S3Server, raw: RawRequest): Promise<RawAnswer> {
  const body = Buffer.from(raw.body ?? '');
  const headers: Record<string, string> =
    raw.anonymous === true ? { host: `127.0.0.1:${server.port}`, ...raw.headers } : signedHeaders(server, raw);
  if (raw.body !== undefined) headers['content-length'] = String(body.length);
  return new Promise((resolve, reject) => {
    const outgoing = request({
      host: '127.0.0.1',
      port: server.port,
      method: raw.method ?? 'GET',
      path: raw.target,
      agent: false,
      headers: { ...headers, ...raw.unsigned },
    });
    let continued = false;
    outgoing.on('error', reject);
    outgoing.on('continue', () => {
      continued = true;
      outgoing.end(body);
    });
    outgoing.on('response', (incoming) => {
      const chunks: Buffer[] = [];
      incoming.on('data', (chunk: Buffer) => chunks.push(chunk));
      incoming.on('error', reject);
      incoming.on('end', () => {
        const whole = Buffer.concat(chunks);
        const text = whole.toString();
        resolve({
          status: incoming.statusCode ?? 0,
          headers: incoming.headers,
          body: whole,
          text,
          code: /<Code>([^<]*)<\/Code>/.exec(text)?.[1],
          continued,
        });
        outgoing.destroy();
      });
    });
    if (headers.expect === '100-continue' || raw.unsigned?.expect === '100-continue') outgoing.flushHeaders();
    else outgoing.end(raw.body === undefined ? undefined : body);
  });
}
