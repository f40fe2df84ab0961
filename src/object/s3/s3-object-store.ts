/** A bucket in S3, or in anything that speaks its protocol. One call is one request; trying again is a wrapper's. */
import {
  ListObjectsV2Command,
  type ListObjectsV2CommandOutput,
  PutObjectCommand,
  type PutObjectCommandInput,
  type S3Client,
} from '@aws-sdk/client-s3';
import { StorageError } from '../../lib/errors.ts';
import { checkDelete, checkGet, checkNotAborted, checkPut, LIST_PAGE_KEYS_MAX } from '../checks.ts';
import type {
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
import { createS3Client, type SendOptions } from './s3-client.ts';
import { S3Deletes } from './s3-delete.ts';
import { s3CodeOf, statusOf, toStorageError } from './s3-errors.ts';
import { S3ListingCheck } from './s3-listing.ts';
import type { S3StoreOptions } from './s3-options.ts';
import { etagOf, getObject, headObject } from './s3-read.ts';

/** Somebody on another thread may have to be asked. */
type Asking<O extends RequestOptions> = Omit<O, 'mayStart'> & { readonly mayStart?: () => boolean | Promise<boolean> };

export class S3ObjectStore implements ObjectStore {
  readonly description: string;
  readonly bucket: string;
  readonly #options: S3StoreOptions;
  readonly #client: S3Client;
  readonly #deletes: S3Deletes;
  readonly #endpoint: string;
  #credentialsWorked = false;
  /** How this server wants the ETag of If-Match, once one form has been accepted. */
  #quotesIfMatch: boolean | undefined;

  /** @throws StorageError INVALID where `caFile` cannot be read */
  constructor(options: S3StoreOptions) {
    this.#options = options;
    this.bucket = options.bucket;
    this.description = `s3://${options.bucket}`;
    this.#endpoint = options.endpoint ?? `S3 in ${options.region}`;
    this.#client = createS3Client(options);
    this.#deletes = new S3Deletes(this.#client, options.bucket);
  }

  async get(key: string, options: GetOptions = {}): Promise<ObjectData | null> {
    checkGet(key, options);
    return this.#attempt(`reading the object ${key}`, true, options.signal, (abortSignal, what) =>
      getObject({ client: this.#client, bucket: this.bucket, key, what, abortSignal }, options.range),
    );
  }

  async head(key: string, options: RequestOptions = {}): Promise<ObjectInfo | null> {
    checkGet(key, options);
    return this.#attempt(`looking at the object ${key}`, true, options.signal, (abortSignal, what) =>
      headObject({ client: this.#client, bucket: this.bucket, key, what, abortSignal }),
    );
  }

  async put(key: string, body: Buffer, options: Asking<PutOptions> = {}): Promise<PutResult> {
    checkPut(key, options);
    return this.#attempt(`writing the object ${key}`, false, options.signal, async (signal, what) => {
      const send = { abortSignal: signal, mayStart: options.mayStart };
      const header = await this.#put(this.#putInput(key, body, options), options, what, send);
      return { etag: etagOf(header, what) };
    });
  }

  async delete(keys: readonly string[], options: Asking<RequestOptions> = {}): Promise<void> {
    checkDelete(keys, options);
    const { mayStart } = options;
    await this.#deletes.delete(keys, (verb, work) =>
      this.#attempt(verb, false, options.signal, (abortSignal, what) => work({ abortSignal, mayStart }, what)),
    );
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
      if (/^(Expired|TokenRefresh)/.test(s3CodeOf(error) ?? '') && credentialsRenew)
        await this.#renewCredentials(signal);
      throw toStorageError(error, { what, endpoint: this.#endpoint, reads, credentialsRenew });
    }
  }

  /** Credentials the server calls expired are asked for again, whatever their own date of expiry says. */
  async #renewCredentials(signal: AbortSignal | undefined): Promise<void> {
    const timeoutMs = this.#options.requestTimeoutMs;
    await attempt('fetching credentials', timeoutMs, signal, () =>
      this.#client.config.credentials({ forceRefresh: true }),
    ).catch(() => {}); // The next request meets the same failure and reports it.
  }

  #putInput(key: string, body: Buffer, { headers, ifNoneMatch }: Asking<PutOptions>): PutObjectCommandInput {
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
    { ifMatch }: Asking<PutOptions>,
    what: string,
    send: SendOptions,
  ): Promise<string | undefined> {
    if (ifMatch === undefined) return (await this.#client.send(new PutObjectCommand(input), send)).ETag;
    const forms = this.#quotesIfMatch === undefined ? [false, true] : [this.#quotesIfMatch];
    for (const quoted of forms) {
      try {
        const command = new PutObjectCommand({ ...input, IfMatch: quoted ? `"${ifMatch}"` : ifMatch });
        const { ETag } = await this.#client.send(command, send);
        this.#quotesIfMatch = quoted;
        return ETag;
      } catch (error) {
        // S3 answers NoSuchKey where there is no object to match.
        if (statusOf(error) !== 412 && s3CodeOf(error) !== 'NoSuchKey') throw error;
      }
    }
    throw new StorageError('CONFLICT', `${what} was refused: the object is not there with the ETag ${ifMatch}`);
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
