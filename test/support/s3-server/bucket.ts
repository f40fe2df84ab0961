/** A bucket in memory: a Map of its objects that also knows their order. */
import { createHash, randomBytes } from 'node:crypto';

export interface StoredObject {
  readonly body: Buffer;
  /** Content-Type, Content-Encoding and their like, x-amz-acl, -storage-class and -server-side-encryption, lower case. */
  readonly headers: Readonly<Record<string, string>>;
  /** Names lower case, without `x-amz-meta-`. */
  readonly metadata: Readonly<Record<string, string>>;
  /** Without quotes. */
  readonly etag: string;
  readonly lastModified: Date;
}

/** Who may do what without signing. */
export type BucketAccess = 'private' | 'public-read' | 'public-read-write';

/** What tests see of a bucket, and may change behind every client's back. */
export class Bucket extends Map<string, StoredObject> {
  readonly name: string;
  readonly access: BucketAccess;
  readonly created = new Date();
  #sorted: string[] | null = null;

  constructor(name: string, access: BucketAccess) {
    super();
    this.name = name;
    this.access = access;
  }

  /** Stores an object as if a client had put it. `md5`: that of the body in hex, where it is known. */
  put(
    key: string,
    body: Buffer | string,
    { headers = {}, metadata = {}, md5 }: Partial<Pick<StoredObject, 'headers' | 'metadata'>> & { md5?: string } = {},
  ): StoredObject {
    const bytes = typeof body === 'string' ? Buffer.from(body) : body;
    const stored: StoredObject = {
      body: bytes,
      headers: { 'content-type': 'binary/octet-stream', ...headers },
      metadata,
      etag: etagOf(bytes, headers['x-amz-server-side-encryption'], md5),
      lastModified: new Date(),
    };
    this.set(key, stored);
    return stored;
  }

  override set(key: string, object: StoredObject): this {
    if (!this.has(key)) this.#sorted = null;
    return super.set(key, object);
  }

  override delete(key: string): boolean {
    const existed = super.delete(key);
    if (existed) this.#sorted = null;
    return existed;
  }

  override clear(): void {
    this.#sorted = null;
    super.clear();
  }

  /** All keys, ascending by their UTF-8 bytes. */
  sortedKeys(): readonly string[] {
    this.#sorted ??= [...this.keys()].sort(compareUtf8);
    return this.#sorted;
  }
}

/** An ETag is the MD5 of the body only without KMS; with it, clients must not read anything into it. */
function etagOf(body: Buffer, encryption: string | undefined, md5: string | undefined): string {
  if (encryption?.startsWith('aws:kms')) return randomBytes(16).toString('hex');
  return md5 ?? createHash('md5').update(body).digest('hex');
}

/** Compares as the UTF-8 bytes would: like UTF-16 code units, but surrogates sort above U+E000..U+FFFF. */
export function compareUtf8(a: string, b: string): number {
  const length = Math.min(a.length, b.length);
  for (let i = 0; i < length; i++) {
    const x = a.charCodeAt(i);
    const y = b.charCodeAt(i);
    if (x !== y) return codePointRank(x) - codePointRank(y);
  }
  return a.length - b.length;
}

function codePointRank(unit: number): number {
  return unit >= 0xd800 && unit < 0xe000 ? unit + 0x10000 : unit;
}
