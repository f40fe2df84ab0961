/** A bucket in S3, or in anything that speaks its protocol. One call is one request; trying again is a wrapper's. */
import { Readable } from 'node:stream';
import {
  DeleteObjectCommand,
  DeleteObjectsCommand,
  GetObjectCommand,
  type GetObjectCommandOutput,
  HeadObjectCommand,
  type HeadObjectCommandOutput,
  ListObjectsV2Command,
  type ListObjectsV2CommandOutput,
  PutObjectCommand,
  type PutObjectCommandInput,
  type S3Client,
} from '@aws-sdk/client-s3';
import { StorageError } from '../../lib/errors.ts';
import { checkDelete, checkGet, checkNotAborted, checkPut, LIST_PAGE_KEYS_MAX } from '../checks.ts';
import type {
  ByteRange,
  GetOptions,
  ListedObject,
  ListOptions,
  ObjectData,
  ObjectInfo,
  ObjectStore,
  PutOptions,
  PutResult,
  RequestOptions,
} from '../object-store.ts';
import { attempt } from './s3-attempt.ts';
import { receive } from './s3-body.ts';
import { createS3Client } from './s3-client.ts';
import { fromS3Code, s3CodeOf, statusOf, toStorageError } from './s3-errors.ts';
import { S3ListingCheck, unquoteEtag } from './s3-listing.ts';
import type { S3StoreOptions } from './s3-options.ts';

/** Single deletes under way at once where the server has no DeleteObjects. */
const SINGLE_DELETES_AT_ONCE = 8;

export class S3ObjectStore implements ObjectStore {
  readonly description: string;
  readonly bucket: string;
  readonly #options: S3StoreOptions;
  readonly #client: S3Client;
  readonly #endpoint: string;
  #credentialsWorked = false;
  #deletesOneByOne = false;
  /** How this server wants the ETag of If-Match, once one form has been accepted. */
  #quotesIfMatch: boolean | undefined;

  /** @throws StorageError INVALID where `caFile` cannot be read */
  constructor(options: S3StoreOptions) {
    this.#options = options;
    this.bucket = options.bucket;
    this.description = `s3://${options.bucket}`;
    this.#endpoint = options.endpoint ?? `S3 in ${options.region}`;
    this.#client = createS3Client(options);
  }

  async get(key: string, options: GetOptions = {}): Promise<ObjectData | null> {
    checkGet(key, options);
    return this.#attempt(`reading the object ${key}`, true, options.signal, (signal, what) =>
      this.#get(key, options.range, what, signal),
    );
  }

  async head(key: string, options: RequestOptions = {}): Promise<ObjectInfo | null> {
    checkGet(key, options);
    return this.#attempt(`looking at the object ${key}`, true, options.signal, async (signal, what) => {
      for (let i = 0; i < 2; i++) {
        const answer = await this.#head(key, what, signal);
        if ('info' in answer) return answer.info;
        // The answer to a HEAD has no body to tell a missing key from a missing bucket or a refusal's reason. That of
        // a GET has, and is one and the same answer for both questions.
        if ((await this.#getForReason(key, what, signal)) === null) return null;
      }
      throw new StorageError('UNAVAILABLE', `${what} failed: HEAD and GET do not agree on whether it exists`);
    });
  }

  async put(key: string, body: Buffer, options: PutOptions = {}): Promise<PutResult> {
    checkPut(key, options);
    return this.#attempt(`writing the object ${key}`, false, options.signal, async (signal, what) => {
      const header = await this.#put(this.#putInput(key, body, options), options, what, signal);
      return { etag: etagOf(header, what) };
    });
  }

  async delete(keys: readonly string[], options: RequestOptions = {}): Promise<void> {
    checkDelete(keys, options);
    const [first] = keys;
    if (first === undefined) return;
    const what = keys.length === 1 ? `deleting the object ${first}` : `deleting ${keys.length} objects`;
    await this.#attempt(what, false, options.signal, async (signal, full) => {
      // XML has no way to write some characters.
      const written = keys.filter(isXmlText);
      if (written.length < 2 || this.#deletesOneByOne) return this.#deleteOneByOne(keys, signal);
      if (!(await this.#deleteTogether(written, full, signal))) return this.#deleteOneByOne(keys, signal);
      if (written.length < keys.length)
        await this.#deleteOneByOne(
          keys.filter((key) => !isXmlText(key)),
          signal,
        );
    });
  }

  async *list(prefix: string, options: ListOptions = {}): AsyncGenerator<readonly ListedObject[]> {
    const { startAfter, signal } = options;
    const what = `listing ${prefix}*`;
    const check = new S3ListingCheck(prefix, startAfter, `${what} in ${this.description}`);
    do {
      checkNotAborted(signal);
      const page = await this.#attempt(what, false, signal, async (abortSignal) =>
        check.page(await this.#listPage(prefix, startAfter, check.token, abortSignal)),
      );
      if (page.length > 0) yield page;
    } while (check.token !== undefined);
  }

  async close(): Promise<void> {
    this.#client.destroy();
  }

  /** One call, under its time limit, with its errors mapped. */
  async #attempt<T>(
    verb: string,
    reads: boolean,
    signal: AbortSignal | undefined,
    work: (signal: AbortSignal, what: string) => Promise<T>,
  ): Promise<T> {
    const what = `${verb} in ${this.description}`;
    try {
      const value = await attempt(what, this.#options.requestTimeoutMs, signal, (inner) => work(inner, what));
      this.#credentialsWorked = true;
      return value;
    } catch (error) {
      const given = this.#options.credentials !== null || this.#options.anonymous;
      const credentialsRenew = !given && this.#credentialsWorked;
      if (/^(Expired|TokenRefresh)/.test(s3CodeOf(error) ?? '') && credentialsRenew) await this.#renewCredentials();
      throw toStorageError(error, { what, endpoint: this.#endpoint, reads, credentialsRenew });
    }
  }

  /** Credentials the server calls expired are asked for again, whatever their own date of expiry says. */
  async #renewCredentials(): Promise<void> {
    const timeoutMs = this.#options.requestTimeoutMs;
    await attempt('fetching credentials', timeoutMs, undefined, () =>
      this.#client.config.credentials({ forceRefresh: true }),
    ).catch(() => {}); // The next request meets the same failure and reports it.
  }

  async #get(
    key: string,
    range: ByteRange | undefined,
    what: string,
    abortSignal: AbortSignal,
  ): Promise<ObjectData | null> {
    const rangeHeader =
      range === undefined ? {} : { Range: `bytes=${range.offset}-${range.offset + range.length - 1}` };
    let output: GetObjectCommandOutput;
    try {
      const command = new GetObjectCommand({ Bucket: this.bucket, Key: key, ...rangeHeader });
      output = await this.#client.send(command, { abortSignal });
    } catch (error) {
      if (s3CodeOf(error) === 'NoSuchKey' && statusOf(error) === 404) return null;
      throw error;
    }
    if (!(output.Body instanceof Readable)) {
      throw new StorageError('UNAVAILABLE', `${what} failed: answered without a body`);
    }
    const { body, objectBytes } = await receive(
      {
        status: output.$metadata.httpStatusCode,
        contentLength: output.ContentLength,
        contentRange: output.ContentRange,
        body: output.Body,
      },
      range,
      what,
    );
    return { ...infoOf(key, output, objectBytes, what), body };
  }

  /** What the object is, or `unclear` for an answer that only its missing body would explain. */
  async #head(key: string, what: string, abortSignal: AbortSignal): Promise<{ info: ObjectInfo } | { unclear: true }> {
    try {
      const command = new HeadObjectCommand({ Bucket: this.bucket, Key: key });
      const output = await this.#client.send(command, { abortSignal });
      if (output.ContentLength === undefined) return { unclear: true };
      return { info: infoOf(key, output, output.ContentLength, what) };
    } catch (error) {
      const status = statusOf(error);
      if (status !== undefined && status >= 300 && status < 500 && status !== 429) return { unclear: true };
      throw error;
    }
  }

  /** Reads one byte of the object, for the sake of the error; null where there is no such key. */
  async #getForReason(key: string, what: string, signal: AbortSignal): Promise<'exists' | null> {
    try {
      return (await this.#get(key, { offset: 0, length: 1 }, what, signal)) === null ? null : 'exists';
    } catch (error) {
      // An empty object has no first byte.
      if (statusOf(error) === 416 || (error instanceof StorageError && error.code === 'INVALID')) return 'exists';
      throw error;
    }
  }

  #putInput(key: string, body: Buffer, { headers, ifNoneMatch }: PutOptions): PutObjectCommandInput {
    const { acl, sse, sseKmsKeyId, storageClass } = this.#options;
    return {
      Bucket: this.bucket,
      Key: key,
      Body: body,
      ContentLength: body.length,
      ...(headers?.contentType === undefined ? {} : { ContentType: headers.contentType }),
      ...(headers?.contentEncoding === undefined ? {} : { ContentEncoding: headers.contentEncoding }),
      ...(headers?.metadata === undefined ? {} : { Metadata: { ...headers.metadata } }),
      ...(ifNoneMatch === undefined ? {} : { IfNoneMatch: ifNoneMatch }),
      // The SDK's types list the values known today; the server has the last word.
      ...(acl === null ? {} : { ACL: acl as NonNullable<PutObjectCommandInput['ACL']> }),
      ...(sse === 'none' ? {} : { ServerSideEncryption: sse }),
      ...(sse !== 'aws:kms' || sseKmsKeyId === null ? {} : { SSEKMSKeyId: sseKmsKeyId }),
      ...(storageClass === null
        ? {}
        : { StorageClass: storageClass as NonNullable<PutObjectCommandInput['StorageClass']> }),
    };
  }

  /**
   * Sends the put and returns the ETag as the server wrote it. Servers disagree on the form of an ETag in If-Match: S3
   * takes both, Ceph only the bare one, others only the quoted one of RFC 9110, and the wrong form is answered like a
   * wrong ETag. Both say the same, so the other form is tried until one has been accepted.
   */
  async #put(
    input: PutObjectCommandInput,
    { ifMatch }: PutOptions,
    what: string,
    abortSignal: AbortSignal,
  ): Promise<string | undefined> {
    if (ifMatch === undefined) return (await this.#client.send(new PutObjectCommand(input), { abortSignal })).ETag;
    const forms = this.#quotesIfMatch === undefined ? [false, true] : [this.#quotesIfMatch];
    for (const quoted of forms) {
      try {
        const command = new PutObjectCommand({ ...input, IfMatch: quoted ? `"${ifMatch}"` : ifMatch });
        const { ETag } = await this.#client.send(command, { abortSignal });
        this.#quotesIfMatch = quoted;
        return ETag;
      } catch (error) {
        // S3 answers NoSuchKey where there is no object to match.
        if (statusOf(error) !== 412 && s3CodeOf(error) !== 'NoSuchKey') throw error;
      }
    }
    throw new StorageError('CONFLICT', `${what} was refused: the object is not there with the ETag ${ifMatch}`);
  }

  /** False where the server does not know how. */
  async #deleteTogether(keys: readonly string[], what: string, abortSignal: AbortSignal): Promise<boolean> {
    const Objects = keys.map((Key) => ({ Key }));
    let errors: { Code?: string | undefined; Message?: string | undefined; Key?: string | undefined }[];
    try {
      const command = new DeleteObjectsCommand({ Bucket: this.bucket, Delete: { Objects, Quiet: true } });
      errors = (await this.#client.send(command, { abortSignal })).Errors ?? [];
    } catch (error) {
      const status = statusOf(error);
      if (status !== 501 && status !== 405) throw error;
      this.#deletesOneByOne = true;
      return false;
    }
    const failed = errors.filter(({ Code }) => Code !== 'NoSuchKey');
    const [first] = failed;
    if (first === undefined) return true;
    const where = `${what}: ${failed.length} of them, such as ${first.Key},`;
    throw fromS3Code(first.Code ?? 'InternalError', first.Message ?? 'no message', where);
  }

  async #deleteOneByOne(keys: readonly string[], abortSignal: AbortSignal): Promise<void> {
    const rest = keys.values();
    const worker = async (): Promise<void> => {
      for (const Key of rest) {
        try {
          await this.#client.send(new DeleteObjectCommand({ Bucket: this.bucket, Key }), { abortSignal });
        } catch (error) {
          if (s3CodeOf(error) !== 'NoSuchKey') throw error;
        }
      }
    };
    await Promise.all(Array.from({ length: Math.min(SINGLE_DELETES_AT_ONCE, keys.length) }, worker));
  }

  #listPage(
    prefix: string,
    startAfter: string | undefined,
    token: string | undefined,
    abortSignal: AbortSignal,
  ): Promise<ListObjectsV2CommandOutput> {
    const command = new ListObjectsV2Command({
      Bucket: this.bucket,
      Prefix: prefix,
      MaxKeys: LIST_PAGE_KEYS_MAX,
      // Without it keys with characters that XML does not have cannot be listed.
      EncodingType: 'url',
      ...(startAfter === undefined || startAfter === '' ? {} : { StartAfter: startAfter }),
      ...(token === undefined ? {} : { ContinuationToken: token }),
    });
    return this.#client.send(command, { abortSignal });
  }
}

function infoOf(
  key: string,
  output: GetObjectCommandOutput | HeadObjectCommandOutput,
  sizeBytes: number,
  what: string,
): ObjectInfo {
  return {
    key,
    sizeBytes,
    etag: etagOf(output.ETag, what),
    contentType: output.ContentType,
    contentEncoding: output.ContentEncoding,
    metadata: output.Metadata ?? {},
    lastModified: output.LastModified,
  };
}

/** Every S3 server sends an ETag; what has none is somebody else's answer. */
function etagOf(header: string | undefined, what: string): string {
  const etag = unquoteEtag(header ?? '');
  if (etag === '') throw new StorageError('UNAVAILABLE', `${what} failed: answered without an ETag`);
  return etag;
}

/** Whether XML 1.0 can carry the text, and carries it unchanged. */
function isXmlText(text: string): boolean {
  return /^[\x20-\ud7ff\ue000-\ufffd\u{10000}-\u{10ffff}]*$/u.test(text);
}
