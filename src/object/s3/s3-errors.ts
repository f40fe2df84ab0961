/** What every answer and failure of an S3 server means, as a StorageError that says what to do. */
import { type ErrorCode, StorageError } from '../../lib/errors.ts';

/** The request that failed. */
export interface FailedRequest {
  /** `reading the object k in s3://b`. */
  readonly what: string;
  /** Where it was sent, for people. */
  readonly endpoint: string;
  readonly reads: boolean;
  /** Credentials that once worked are refreshed by the SDK, so that trying again may help. */
  readonly credentialsRenew: boolean;
}

/** An answer that no S3 server gives: of a proxy, a portal, another kind of server. */
export class ForeignAnswer extends Error {
  override readonly name = 'ForeignAnswer';
  /** The message is lengthened by the SDK. */
  readonly reason: string;

  constructor(reason: string) {
    super(reason);
    this.reason = reason;
  }
}

/** The parts of the SDK's errors that are used here. */
interface SdkError {
  readonly name?: unknown;
  readonly message?: unknown;
  readonly code?: unknown;
  readonly Region?: unknown;
  readonly $metadata?: { readonly httpStatusCode?: number; readonly requestId?: string };
  readonly $response?: { readonly statusCode?: number; readonly headers?: Readonly<Record<string, string>> };
}

interface Meaning {
  readonly code: ErrorCode;
  readonly retryable?: boolean;
  readonly advice?: string;
}

/** S3's own error code, `NoSuchKey` and its like, or undefined where no S3 server answered with one. */
export function s3CodeOf(error: unknown): string | undefined {
  const { name, message } = sdkError(error);
  if (typeof name !== 'string' || statusOf(error) === undefined) return undefined;
  // The SDK calls an error without a code of its own one of these, or by its status.
  return /^(Unknown|UnknownError|NotFound|Error|SyntaxError|TypeError|\d+)$/.test(name) || message === undefined
    ? undefined
    : name;
}

export function statusOf(error: unknown): number | undefined {
  const { $metadata, $response } = sdkError(error);
  return $metadata?.httpStatusCode ?? $response?.statusCode;
}

export function toStorageError(error: unknown, request: FailedRequest): StorageError {
  if (error instanceof StorageError) return error;
  if (error instanceof ForeignAnswer) {
    const message = `${request.what} failed: ${error.reason}; check that ${request.endpoint} is an S3 server`;
    return new StorageError('UNAVAILABLE', message);
  }
  const status = statusOf(error);
  if (status !== undefined) return fromAnswer(error, status, request);
  if (isCredentialsError(error)) return fromCredentials(error, request);
  return fromNetwork(error, request);
}

/** An error S3 reports for one key inside an answer of its own. */
export function fromS3Code(code: string, message: string, what: string): StorageError {
  const meaning = MEANINGS[code] ?? { code: 'UNAVAILABLE' as const };
  return makeError(meaning, `${what} failed (${code}: ${message})`, {});
}

const SKEWED = 'the clock of this machine and the server differ; it is corrected for and tried again';
const RENEWED = 'the credentials have expired; they are fetched again';

const MEANINGS: Readonly<Record<string, Meaning>> = {
  NoSuchBucket: { code: 'NOT_FOUND', advice: 'the bucket does not exist there: create it, or correct store.url' },
  AccessDenied: { code: 'ACCESS_DENIED', advice: 'the credentials do not allow it: check the policies' },
  AllAccessDisabled: { code: 'ACCESS_DENIED' },
  InvalidAccessKeyId: { code: 'ACCESS_DENIED', advice: 'the server does not know the access key id' },
  SignatureDoesNotMatch: { code: 'ACCESS_DENIED', advice: 'the secret access key is wrong for this access key id' },
  InvalidToken: { code: 'ACCESS_DENIED', advice: 'the session token is wrong' },
  ExpiredToken: { code: 'ACCESS_DENIED', advice: RENEWED },
  ExpiredTokenException: { code: 'ACCESS_DENIED', advice: RENEWED },
  TokenRefreshRequired: { code: 'ACCESS_DENIED', advice: RENEWED },
  RequestTimeTooSkewed: { code: 'ACCESS_DENIED', retryable: true, advice: SKEWED },
  RequestInTheFuture: { code: 'ACCESS_DENIED', retryable: true, advice: SKEWED },
  RequestExpired: { code: 'ACCESS_DENIED', retryable: true, advice: SKEWED },
  InvalidObjectState: { code: 'UNSUPPORTED', advice: 'the object is archived and must be restored first' },
  PreconditionFailed: { code: 'CONFLICT' },
  InvalidRange: { code: 'INVALID' },
  NotImplemented: { code: 'UNSUPPORTED', advice: 'the server does not offer this' },
  MethodNotAllowed: { code: 'UNSUPPORTED', advice: 'the server does not offer this' },
  RequestTimeout: { code: 'UNAVAILABLE' },
  IncompleteBody: { code: 'UNAVAILABLE' },
  BadDigest: { code: 'UNAVAILABLE', advice: 'the body was changed on its way' },
  XAmzContentSHA256Mismatch: { code: 'UNAVAILABLE', advice: 'the body was changed on its way' },
  InternalError: { code: 'UNAVAILABLE' },
  ServiceUnavailable: { code: 'UNAVAILABLE' },
  SlowDown: { code: 'UNAVAILABLE' },
  TemporaryRedirect: { code: 'UNAVAILABLE' },
  TooManyRequestsException: { code: 'UNAVAILABLE' },
  RequestLimitExceeded: { code: 'UNAVAILABLE' },
  BandwidthLimitExceeded: { code: 'UNAVAILABLE' },
  QuotaExceeded: { code: 'NO_SPACE', advice: 'the quota is used up' },
  InsufficientStorage: { code: 'NO_SPACE' },
  XMinioStorageFull: { code: 'NO_SPACE' },
};

const WRONG_REGION = /^(PermanentRedirect|AuthorizationHeaderMalformed|IllegalLocationConstraintException)$/;

function fromAnswer(error: unknown, status: number, request: FailedRequest): StorageError {
  const code = s3CodeOf(error);
  const meaning = meaningOf(error, status, code, request);
  const { $metadata, message } = sdkError(error);
  const id = $metadata?.requestId === undefined ? '' : `, request ${$metadata.requestId}`;
  const said = code === undefined || typeof message !== 'string' || message === '' ? '' : `: ${message}`;
  const what = `${request.what} failed (${status}${code === undefined ? '' : ` ${code}`}${said}${id})`;
  const retryAfterMs = retryAfterOf(error);
  return makeError(meaning, what, {
    cause: withoutSecrets(error, code),
    ...(retryAfterMs === undefined ? {} : { retryAfterMs }),
  });
}

function meaningOf(error: unknown, status: number, code: string | undefined, request: FailedRequest): Meaning {
  if ((code !== undefined && WRONG_REGION.test(code)) || status === 301) return wrongRegion(error);
  if (code !== undefined && /^(Expired|TokenRefresh)/.test(code)) {
    if (request.credentialsRenew) return { code: 'ACCESS_DENIED', retryable: true, advice: RENEWED };
    return { code: 'ACCESS_DENIED', advice: 'the credentials that were given have expired: give new ones' };
  }
  if (code === 'AccessDenied' && request.reads) {
    const advice = 'the credentials do not allow it; where they lack s3:ListBucket, a missing key is answered so too';
    return { code: 'ACCESS_DENIED', advice };
  }
  // With SSE-KMS the key service's own limits come through, as 400 ThrottlingException and the like.
  if (code !== undefined && /Throttl/.test(code)) return { code: 'UNAVAILABLE' };
  const known = code === undefined ? undefined : MEANINGS[code];
  return known ?? meaningOfStatus(status, code, request);
}

function meaningOfStatus(status: number, code: string | undefined, request: FailedRequest): Meaning {
  if (status === 404 && code === undefined) {
    // A gateway whose server is restarting answers so as well; taken for a missing key it would read as zeros.
    return { code: 'UNAVAILABLE', advice: `this 404 is not S3's: check that ${request.endpoint} is an S3 server` };
  }
  if (status === 404) return { code: 'NOT_FOUND' };
  if (status === 401 || status === 403) return { code: 'ACCESS_DENIED' };
  if (status === 412) return { code: 'CONFLICT' };
  if (status === 416) return { code: 'INVALID' };
  if (status === 501 || status === 405) return { code: 'UNSUPPORTED' };
  if (status === 507) return { code: 'NO_SPACE' };
  // 409: another conditional request was under way, and this one had no effect.
  if (status === 408 || status === 409 || status === 429 || status >= 500) return { code: 'UNAVAILABLE' };
  if (status < 300) return { code: 'UNAVAILABLE', advice: 'the answer was cut short or is not understood' };
  if (status < 400) {
    return { code: 'UNAVAILABLE', advice: `something before ${request.endpoint} redirects: that is no S3 server` };
  }
  return { code: 'INVALID' };
}

function wrongRegion(error: unknown): Meaning {
  const { $response, Region } = sdkError(error);
  const region = $response?.headers?.['x-amz-bucket-region'] ?? (typeof Region === 'string' ? Region : undefined);
  const where = region === undefined ? 'in another region' : `in the region ${region}`;
  return { code: 'INVALID', advice: `the bucket is ${where}: set store.region (and store.endpoint) accordingly` };
}

function isCredentialsError(error: unknown): boolean {
  const { name } = sdkError(error);
  return typeof name === 'string' && /^(CredentialsProviderError|TokenProviderError|ProviderError)$/.test(name);
}

function fromCredentials(error: unknown, request: FailedRequest): StorageError {
  return makeError(
    {
      code: 'ACCESS_DENIED',
      retryable: request.credentialsRenew,
      advice:
        'no credentials were found in the settings (store.accessKeyId), the environment (AWS_ACCESS_KEY_ID), the shared ' +
        'files and their profile (store.profile), web identity, container or instance metadata: give some, or set ' +
        'store.anonymous',
    },
    `${request.what} failed`,
    { cause: error },
  );
}

const CERTIFICATE =
  /CERT|SELF_SIGNED|UNABLE_TO_VERIFY|UNABLE_TO_GET_(ISSUER|CRL)|INVALID_CA|PATH_LENGTH_EXCEEDED|HOSTNAME_MISMATCH/;

function fromNetwork(error: unknown, request: FailedRequest): StorageError {
  const { name, code: errno } = sdkError(error);
  const what = `${request.what} failed${typeof errno === 'string' ? ` (${errno})` : ''}`;
  return makeError(meaningOfNetwork(name, errno, request.endpoint), what, { cause: error });
}

function meaningOfNetwork(name: unknown, errno: unknown, endpoint: string): Meaning {
  // The SDK gives resets this name too, but those have a code of their own.
  if (errno === 'ETIMEDOUT' || (name === 'TimeoutError' && errno === undefined)) {
    return { code: 'TIMEOUT', advice: `no connection to ${endpoint} in time` };
  }
  if (typeof errno !== 'string') return { code: 'UNAVAILABLE' };
  if (errno === 'ENOTFOUND' || errno === 'EAI_AGAIN') {
    return { code: 'UNAVAILABLE', advice: `the host of ${endpoint} is not known: check store.endpoint and DNS` };
  }
  if (errno === 'ECONNREFUSED') return { code: 'UNAVAILABLE', advice: `nothing listens at ${endpoint}` };
  if (CERTIFICATE.test(errno)) {
    const advice = `the certificate of ${endpoint} is not trusted: name its authority in store.caFile`;
    return { code: 'UNAVAILABLE', retryable: false, advice };
  }
  if (errno === 'EPROTO' || errno.startsWith('ERR_SSL_')) {
    return { code: 'UNAVAILABLE', retryable: false, advice: `${endpoint} does not speak TLS: check store.endpoint` };
  }
  if (errno === 'ERR_INVALID_URL' || errno === 'ERR_INVALID_CHAR') return { code: 'INVALID' };
  return { code: 'UNAVAILABLE' };
}

function makeError(
  meaning: Meaning,
  what: string,
  options: { readonly cause?: unknown; readonly retryAfterMs?: number },
): StorageError {
  const { code, retryable, advice } = meaning;
  const message = advice === undefined ? what : `${what}; ${advice}`;
  return new StorageError(code, message, { ...options, ...(retryable === undefined ? {} : { retryable }) });
}

/** Retry-After in ms: seconds, or a date (RFC 9110, 10.2.3), which is told from by the server's clock, not by ours. */
function retryAfterOf(error: unknown): number | undefined {
  const headers = sdkError(error).$response?.headers ?? {};
  const value = headers['retry-after'];
  if (value === undefined) return undefined;
  if (/^\d+$/.test(value)) return Number(value) * 1000;
  const atMs = Date.parse(value);
  if (Number.isNaN(atMs)) return undefined;
  const serverMs = Date.parse(headers.date ?? '');
  return Math.max(0, atMs - (Number.isNaN(serverMs) ? Date.now() : serverMs));
}

/**
 * The SDK's error carries the whole answer, and where a signature is refused, S3 repeats the signed request in it, the
 * session token included. What is kept is what a person needs.
 */
function withoutSecrets(error: unknown, code: string | undefined): Error {
  const { name, message } = sdkError(error);
  const cause = new Error(typeof message === 'string' ? message : 'the server refused');
  cause.name = code ?? (typeof name === 'string' ? name : 'Error');
  return cause;
}

function sdkError(error: unknown): SdkError {
  return typeof error === 'object' && error !== null ? error : {};
}
