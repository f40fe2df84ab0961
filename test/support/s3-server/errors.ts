/** S3's errors: a code, the HTTP status that goes with it, and the XML a client reads. */
import { element } from './xml.ts';

const STATUS_OF_CODE = {
  AccessDenied: 403,
  AuthorizationHeaderMalformed: 400,
  BadDigest: 400,
  BucketAlreadyOwnedByYou: 409,
  BucketNotEmpty: 409,
  EntityTooLarge: 400,
  IncompleteBody: 400,
  InternalError: 500,
  InvalidAccessKeyId: 403,
  InvalidArgument: 400,
  InvalidBucketName: 400,
  InvalidDigest: 400,
  InvalidObjectState: 403,
  InvalidRange: 416,
  InvalidRequest: 400,
  InvalidStorageClass: 400,
  InvalidToken: 400,
  InvalidURI: 400,
  KeyTooLongError: 400,
  MalformedXML: 400,
  MetadataTooLarge: 400,
  MethodNotAllowed: 405,
  MissingContentLength: 411,
  NoSuchBucket: 404,
  NoSuchKey: 404,
  NotImplemented: 501,
  PreconditionFailed: 412,
  RequestTimeTooSkewed: 403,
  RequestTimeout: 400,
  ServiceUnavailable: 503,
  SignatureDoesNotMatch: 403,
  SlowDown: 503,
  XAmzContentSHA256Mismatch: 400,
} as const;

export type S3ErrorCode = keyof typeof STATUS_OF_CODE;

export interface S3ErrorOptions {
  /** Where it differs from the status S3 gives with the code. */
  readonly status?: number;
  /** Further elements of the error document. */
  readonly details?: Readonly<Record<string, string | number>>;
  readonly headers?: Readonly<Record<string, string>>;
}

export class S3Error extends Error {
  override readonly name = 'S3Error';
  readonly code: string;
  readonly status: number;
  readonly details: Readonly<Record<string, string | number>>;
  readonly headers: Readonly<Record<string, string>>;

  constructor(code: S3ErrorCode | (string & {}), message: string, options: S3ErrorOptions = {}) {
    super(message);
    this.code = code;
    this.status = options.status ?? (STATUS_OF_CODE as Readonly<Record<string, number>>)[code] ?? 400;
    this.details = options.details ?? {};
    this.headers = options.headers ?? {};
  }
}

/** The error document. It has no namespace, unlike every other answer of S3. */
export function errorDocument(error: S3Error, resource: string, requestId: string): string {
  const fields: Record<string, string | number> = {
    Code: error.code,
    Message: error.message,
    ...error.details,
    Resource: resource,
    RequestId: requestId,
    HostId: 'bucketdisk-test',
  };
  const content = Object.entries(fields).map(([name, value]) => element(name, value));
  return `<?xml version="1.0" encoding="UTF-8"?>\n<Error>${content.join('')}</Error>`;
}

export function notImplemented(what: string): S3Error {
  return new S3Error('NotImplemented', `${what} implies functionality that is not implemented`);
}
