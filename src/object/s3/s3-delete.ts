/** Deletes many keys at once, or one by one where that is not to be had, and trusts no silence: what stays would be read again. */
import { DeleteObjectCommand, DeleteObjectsCommand, type S3Client } from '@aws-sdk/client-s3';
import { StorageError } from '../../lib/errors.ts';
import { settleAll } from '../../lib/settle.ts';
import type { SendOptions } from './s3-client.ts';
import { fromS3Code, s3CodeOf, statusOf } from './s3-errors.ts';

/** Single deletes under way at once where the server has no DeleteObjects. */
const SINGLE_DELETES_AT_ONCE = 8;

/** Makes one request under its own time limit, with its errors mapped. */
export type Attempt = <T>(verb: string, work: (send: SendOptions, what: string) => Promise<T>) => Promise<T>;

export class S3Deletes {
  readonly #client: S3Client;
  readonly #bucket: string;
  #onlyOneByOne = false;

  constructor(client: S3Client, bucket: string) {
    this.#client = client;
    this.#bucket = bucket;
  }

  /** Resolves when the server has confirmed every key. No request is under way when it settles. */
  async delete(keys: readonly string[], attempt: Attempt): Promise<void> {
    const fits = (key: string): boolean => !this.#onlyOneByOne && isXmlText(key);
    const alone = keys.filter((key) => !fits(key));
    const together = [...new Set(keys.filter(fits))];
    const left = together.length < 2 ? together : await this.#deleteTogether(together, attempt);
    await this.#deleteOneByOne([...left, ...alone], attempt);
  }

  /** Returns those that are still to be deleted, one by one: all of them where the server does not know how. */
  #deleteTogether(keys: readonly string[], attempt: Attempt): Promise<readonly string[]> {
    const Objects = keys.map((Key) => ({ Key }));
    return attempt(`deleting ${keys.length} objects`, async (send, what) => {
      try {
        // Not quietly: an answer without errors may as well be one cut short, or somebody else's.
        const command = new DeleteObjectsCommand({ Bucket: this.#bucket, Delete: { Objects, Quiet: false } });
        const { Deleted = [], Errors = [] } = await this.#client.send(command, send);
        const failed = Errors.filter(({ Code }) => Code !== 'NoSuchKey');
        const [first] = failed;
        if (first !== undefined) {
          const where = `${what}: ${failed.length} of them, such as ${first.Key},`;
          throw fromS3Code(first.Code ?? 'InternalError', first.Message ?? 'no message', where);
        }
        const confirmed = [...Deleted, ...Errors];
        if (confirmed.length < keys.length) {
          throw new StorageError('UNAVAILABLE', `${what} failed: ${confirmed.length} of ${keys.length} were confirmed`);
        }
        // Other keys than we asked for are another's answer, or ours written in another way: a single delete cannot be mistaken.
        const named = new Set(confirmed.map(({ Key }) => Key));
        return keys.filter((key) => !named.has(key));
      } catch (error) {
        const status = statusOf(error);
        if (status !== 501 && status !== 405) throw error;
        this.#onlyOneByOne = true;
        return keys;
      }
    });
  }

  /** After a failure no further request is sent, and those under way are waited for: none may arrive after a later put. */
  async #deleteOneByOne(keys: readonly string[], attempt: Attempt): Promise<void> {
    const rest = keys.values();
    let failed = false;
    const worker = async (): Promise<void> => {
      for (const Key of rest) {
        if (failed) return;
        try {
          await attempt(`deleting the object ${Key}`, (send) => this.#deleteOne(Key, send));
        } catch (error) {
          failed = true;
          throw error;
        }
      }
    };
    await settleAll(Array.from({ length: Math.min(SINGLE_DELETES_AT_ONCE, keys.length) }, worker));
  }

  async #deleteOne(Key: string, send: SendOptions): Promise<void> {
    try {
      await this.#client.send(new DeleteObjectCommand({ Bucket: this.#bucket, Key }), send);
    } catch (error) {
      if (s3CodeOf(error) !== 'NoSuchKey') throw error;
    }
  }
}

/** Whether XML 1.0 can carry the text, and carries it unchanged. */
function isXmlText(text: string): boolean {
  return /^[\x20-\ud7ff\ue000-\ufffd\u{10000}-\u{10ffff}]*$/u.test(text);
}
