/** Who sent a request: the checks S3 makes on a signed request before it reads the body. */
import { notImplemented, S3Error } from './errors.ts';
import {
  type Authorization,
  parseAuthorization,
  parseSigningDate,
  type SignedMessage,
  sameSignature,
  signatureOf,
  signingKey,
} from './sigv4.ts';

export interface Credentials {
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
  readonly sessionToken?: string;
}

export interface AuthenticatorOptions {
  readonly credentials: readonly Credentials[];
  readonly region: string;
  /** Accept bodies that are not part of the signature. */
  readonly unsignedPayload: boolean;
}

export interface Identity {
  /** Null: nobody, the request is not signed. */
  readonly accessKeyId: string | null;
  /** SHA-256 in hex the body must have, or null where the request leaves it open. */
  readonly payloadHash: string | null;
}

const SKEW_MAX_MS = 15 * 60 * 1000;
const ANONYMOUS: Identity = { accessKeyId: null, payloadHash: null };

export class Authenticator {
  readonly #options: AuthenticatorOptions;
  /** Deriving a key costs four HMACs; one lasts a day. */
  readonly #keys = new Map<string, Buffer>();

  constructor(options: AuthenticatorOptions) {
    this.#options = options;
  }

  /** Checks the signature at the server's time `nowMs`; throws what S3 would answer. */
  authenticate(message: SignedMessage, nowMs: number): Identity {
    const header = message.headers.get('authorization');
    if (header === undefined) {
      if (/(^|&)(X-Amz-Algorithm|AWSAccessKeyId)=/i.test(message.rawQuery)) throw notImplemented('A presigned URL');
      return ANONYMOUS;
    }
    const authorization = parseAuthorization(header.join(','));
    this.#checkScope(authorization);
    const { amzDate } = this.#checkTime(message, authorization, nowMs);
    const credentials = this.#options.credentials.find((c) => c.accessKeyId === authorization.accessKeyId);
    if (credentials === undefined) {
      throw new S3Error('InvalidAccessKeyId', 'The AWS Access Key Id you provided does not exist in our records.', {
        details: { AWSAccessKeyId: authorization.accessKeyId },
      });
    }
    this.#checkToken(message, credentials);
    checkSignedHeaders(message, authorization);
    const payload = this.#payloadHash(message);
    const key = this.#signingKey(credentials, authorization);
    const expected = signatureOf(message, authorization, amzDate, payload, key);
    if (!sameSignature(expected, authorization.signature)) {
      throw new S3Error(
        'SignatureDoesNotMatch',
        'The request signature we calculated does not match the signature you provided. Check your key and signing method.',
        { details: { AWSAccessKeyId: authorization.accessKeyId, SignatureProvided: authorization.signature } },
      );
    }
    return {
      accessKeyId: authorization.accessKeyId,
      payloadHash: payload === 'UNSIGNED-PAYLOAD' ? null : payload,
    };
  }

  #checkScope({ region, service }: Authorization): void {
    if (region !== this.#options.region) {
      throw new S3Error(
        'AuthorizationHeaderMalformed',
        `The authorization header is malformed; the region '${region}' is wrong; expecting '${this.#options.region}'`,
        { details: { Region: this.#options.region } },
      );
    }
    if (service !== 's3') {
      throw new S3Error(
        'AuthorizationHeaderMalformed',
        `The authorization header is malformed; incorrect service "${service}". This endpoint belongs to "s3".`,
      );
    }
  }

  #checkTime(message: SignedMessage, authorization: Authorization, nowMs: number): { amzDate: string } {
    const value = (message.headers.get('x-amz-date') ?? message.headers.get('date'))?.[0];
    const date = value === undefined ? null : parseSigningDate(value);
    if (date === null) {
      throw new S3Error('AccessDenied', 'AWS authentication requires a valid Date or x-amz-date header');
    }
    if (Math.abs(nowMs - date.timeMs) > SKEW_MAX_MS) {
      throw new S3Error(
        'RequestTimeTooSkewed',
        'The difference between the request time and the current time is too large.',
        {
          details: {
            RequestTime: date.amzDate,
            ServerTime: new Date(nowMs).toISOString(),
            MaxAllowedSkewMilliseconds: SKEW_MAX_MS,
          },
        },
      );
    }
    if (!date.amzDate.startsWith(authorization.date)) {
      throw new S3Error(
        'AuthorizationHeaderMalformed',
        'The authorization header is malformed; the date of the credential scope is not that of the request.',
      );
    }
    return date;
  }

  #checkToken(message: SignedMessage, credentials: Credentials): void {
    const token = message.headers.get('x-amz-security-token')?.[0];
    if (token !== credentials.sessionToken) {
      throw new S3Error('InvalidToken', 'The provided token is malformed or otherwise invalid.');
    }
  }

  #payloadHash(message: SignedMessage): string {
    const value = message.headers.get('x-amz-content-sha256')?.[0];
    if (value === undefined) {
      throw new S3Error('InvalidRequest', 'Missing required header for this request: x-amz-content-sha256');
    }
    if (/^[0-9a-f]{64}$/.test(value)) return value;
    if (value.startsWith('STREAMING-')) throw notImplemented(`x-amz-content-sha256: ${value}`);
    if (value !== 'UNSIGNED-PAYLOAD') {
      throw new S3Error(
        'InvalidArgument',
        'x-amz-content-sha256 must be UNSIGNED-PAYLOAD, STREAMING-AWS4-HMAC-SHA256-PAYLOAD, or a valid sha256 value.',
      );
    }
    if (!this.#options.unsignedPayload) {
      throw new S3Error('InvalidRequest', 'UNSIGNED-PAYLOAD is not accepted over an unencrypted connection.');
    }
    return value;
  }

  #signingKey(credentials: Credentials, { date, region, service }: Authorization): Buffer {
    const name = `${credentials.accessKeyId}/${date}/${region}/${service}`;
    let key = this.#keys.get(name);
    if (key === undefined) {
      key = signingKey(credentials.secretAccessKey, date, region, service);
      this.#keys.set(name, key);
    }
    return key;
  }
}

/** Every header that S3 acts on must be signed, or anyone on the way could have added it. */
function checkSignedHeaders(message: SignedMessage, { signedHeaders }: Authorization): void {
  const signed = new Set(signedHeaders);
  const sorted = [...signed].sort();
  if (sorted.length !== signedHeaders.length || sorted.some((name, i) => name !== signedHeaders[i])) {
    throw new S3Error('AuthorizationHeaderMalformed', 'SignedHeaders must be distinct and sorted.');
  }
  const unsigned = [...message.headers.keys()].filter(
    (name) => (name === 'host' || name === 'content-md5' || name.startsWith('x-amz-')) && !signed.has(name),
  );
  const absent = signedHeaders.filter((name) => !message.headers.has(name));
  if (unsigned.length > 0 || absent.length > 0) {
    throw new S3Error('AccessDenied', 'There were headers present in the request which were not signed', {
      details: { HeadersNotSigned: [...unsigned, ...absent].join(', ') },
    });
  }
}
