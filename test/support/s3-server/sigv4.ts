/** AWS Signature Version 4 for S3, header form: pure functions over what stood in the request. */
import { createHash, createHmac, timingSafeEqual } from 'node:crypto';
import { S3Error } from './errors.ts';

/** A request as it came over the wire. */
export interface SignedMessage {
  readonly method: string;
  /** The path of the request line, percent-encoding and all. */
  readonly rawPath: string;
  /** What follows the `?`, or ''. */
  readonly rawQuery: string;
  /** Names lower case; values of repeated headers in order. */
  readonly headers: ReadonlyMap<string, readonly string[]>;
}

export interface Authorization {
  readonly accessKeyId: string;
  /** YYYYMMDD */
  readonly date: string;
  readonly region: string;
  readonly service: string;
  readonly signedHeaders: readonly string[];
  readonly signature: string;
}

const ALGORITHM = 'AWS4-HMAC-SHA256';

/** Percent-encodes all but the unreserved characters, as the specification of SigV4 wants it. */
export function uriEncode(text: string): string {
  return encodeURIComponent(text).replace(/[!'()*]/g, (c) => `%${c.charCodeAt(0).toString(16).toUpperCase()}`);
}

/** Decodes percent-encoding; throws InvalidURI where it is not well formed UTF-8. */
export function uriDecode(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    throw new S3Error('InvalidURI', "Couldn't parse the specified URI.");
  }
}

/** The decoded parameters in the order they stood; a parameter without `=` has the value ''. */
export function parseQuery(rawQuery: string): [name: string, value: string][] {
  if (rawQuery === '') return [];
  return rawQuery.split('&').map((pair) => {
    const equals = pair.indexOf('=');
    const name = equals < 0 ? pair : pair.slice(0, equals);
    const value = equals < 0 ? '' : pair.slice(equals + 1);
    return [uriDecode(name.replaceAll('+', ' ')), uriDecode(value.replaceAll('+', ' '))];
  });
}

export function parseAuthorization(header: string): Authorization {
  const malformed = (what: string): S3Error =>
    new S3Error('AuthorizationHeaderMalformed', `The authorization header is malformed; ${what}.`);
  if (!header.startsWith(`${ALGORITHM} `)) {
    if (/^AWS /.test(header)) {
      throw new S3Error(
        'InvalidRequest',
        `The authorization mechanism you have provided is not supported. Please use ${ALGORITHM}.`,
      );
    }
    throw malformed('the algorithm is not supported');
  }
  const fields = new Map<string, string>();
  for (const field of header.slice(ALGORITHM.length + 1).split(',')) {
    const equals = field.indexOf('=');
    if (equals < 0) throw malformed('a field has no value');
    fields.set(field.slice(0, equals).trim(), field.slice(equals + 1).trim());
  }
  // The access key id may hold slashes, the rest of the scope cannot.
  const scope = /^(.+)\/(\d{8})\/([^/]+)\/([^/]+)\/aws4_request$/.exec(fields.get('Credential') ?? '');
  const signedHeaders = fields.get('SignedHeaders');
  const signature = fields.get('Signature');
  if (scope === null) throw malformed('the Credential is mal-formed');
  if (signedHeaders === undefined || signedHeaders === '') throw malformed('SignedHeaders is missing');
  if (signature === undefined || !/^[0-9a-f]{64}$/.test(signature)) throw malformed('the Signature is mal-formed');
  const [, accessKeyId = '', date = '', region = '', service = ''] = scope;
  return { accessKeyId, date, region, service, signedHeaders: signedHeaders.split(';'), signature };
}

/** Task 1 of signing. S3 encodes a path once, and neither folds `//` nor resolves `..`. */
export function canonicalRequest(
  message: SignedMessage,
  signedHeaders: readonly string[],
  payloadHash: string,
): string {
  const path = message.rawPath
    .split('/')
    .map((segment) => uriEncode(uriDecode(segment)))
    .join('/');
  const query = parseQuery(message.rawQuery)
    .map(([name, value]) => `${uriEncode(name)}=${uriEncode(value)}`)
    .sort(byName)
    .join('&');
  const headers = signedHeaders.map((name) => {
    const values = (message.headers.get(name) ?? []).map((value) => value.trim().replace(/ +/g, ' '));
    return `${name}:${values.join(',')}\n`;
  });
  return [message.method, path, query, headers.join(''), signedHeaders.join(';'), payloadHash].join('\n');
}

/** By encoded name, then by value: comparing whole pairs would let `=` (0x3d) sort among the names' own characters. */
function byName(a: string, b: string): number {
  const [nameA = '', valueA = ''] = a.split('=');
  const [nameB = '', valueB = ''] = b.split('=');
  if (nameA !== nameB) return nameA < nameB ? -1 : 1;
  return valueA === valueB ? 0 : valueA < valueB ? -1 : 1;
}

export function stringToSign(canonical: string, amzDate: string, scope: string): string {
  return [ALGORITHM, amzDate, scope, createHash('sha256').update(canonical).digest('hex')].join('\n');
}

export function signingKey(secret: string, date: string, region: string, service: string): Buffer {
  const hmac = (key: string | Buffer, data: string): Buffer => createHmac('sha256', key).update(data).digest();
  return hmac(hmac(hmac(hmac(`AWS4${secret}`, date), region), service), 'aws4_request');
}

/** The signature in hex of a message whose date is `amzDate` (YYYYMMDDTHHMMSSZ). */
export function signatureOf(
  message: SignedMessage,
  authorization: Omit<Authorization, 'signature' | 'accessKeyId'>,
  amzDate: string,
  payloadHash: string,
  key: Buffer,
): string {
  const { date, region, service, signedHeaders } = authorization;
  const canonical = canonicalRequest(message, signedHeaders, payloadHash);
  const text = stringToSign(canonical, amzDate, `${date}/${region}/${service}/aws4_request`);
  return createHmac('sha256', key).update(text).digest('hex');
}

/** Whether two hex signatures of equal length are the same. */
export function sameSignature(a: string, b: string): boolean {
  return a.length === b.length && timingSafeEqual(Buffer.from(a), Buffer.from(b));
}

/** The time in an `x-amz-date` or `Date` header, and its `x-amz-date` form; null where it cannot be read. */
export function parseSigningDate(value: string): { timeMs: number; amzDate: string } | null {
  const basic = /^(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z$/.exec(value);
  const timeMs = Date.parse(
    basic === null ? value : `${basic[1]}-${basic[2]}-${basic[3]}T${basic[4]}:${basic[5]}:${basic[6]}Z`,
  );
  if (Number.isNaN(timeMs)) return null;
  return { timeMs, amzDate: formatAmzDate(timeMs) };
}

/** YYYYMMDDTHHMMSSZ */
export function formatAmzDate(timeMs: number): string {
  return new Date(timeMs).toISOString().replace(/[-:]|\.\d{3}/g, '');
}
