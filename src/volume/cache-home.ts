/**
 * The directory of a volume's cache, and whose it is: which volume, and under which claims it was used. A cache is stale
 * once somebody else has held the volume, which the claims found in the bucket tell.
 */
import { crc32 } from 'node:zlib';
import { hasUnsaved, removeCache, staleCache } from '../cache/cache-directory.ts';
import { GIVE_UP, WAYS_OUT, WAYS_OUT_OF_VERSION } from '../cache/ways-out.ts';
import type { Disk } from '../lib/disk.ts';
import { isStorageError, StorageError } from '../lib/errors.ts';

const FORMAT = 'bucketdisk-cache';
/** Since 3 whole pages of what clients have written are checked by XXH3, in the log and in the read cache. */
const VERSION = 3;
const NAME = 'volume.json';
/** Written before the other, and read where that is damaged: without either, writes in the log would be nobody's. */
const COPY_NAME = 'volume.json.copy';
/** Of each; more than they ever hold. */
const RESERVED_BYTES = 16 * 1024;
/** Openings that failed or crashed, one after another. */
const LINKS_MAX = 64;

/** What the claims that were found in the bucket say of a cache. */
export interface CacheContinuity {
  /**
   * Somebody else may have written it since then, by the store's clock: only what has not changed since is as the cache has it.
   * Null: nobody can have, as its claims stood all the time.
   */
  readonly suspectSince: Date | null;
  /** To be called once nothing in the cache is suspect any more, for good. */
  readonly onTrusted: () => Promise<void>;
}

/** One of our claims, and the holder of the lease that it was to follow. */
interface Link {
  readonly holder: string;
  readonly after: string | null;
}

interface Owner {
  readonly volumeId: string;
  /** The URL it was at: a copy of a bucket has the ids and the claims of the first. */
  readonly url: string;
  /** The claim under which the cache was used last; null: it was held by token alone. */
  readonly holder: string | null;
  /** Claims made since that never came so far, each after one that was ours. */
  readonly links: readonly Link[];
  /** The values of our tokens. */
  readonly tokens: readonly string[];
  /**
   * Cached pages are to be believed only where the bucket has not changed since then, ISO 8601 by the store's clock; null: all of
   * them are to be believed.
   */
  readonly suspectSince: string | null;
}

export class CacheHome {
  readonly directory: string;
  readonly #disk: Disk;
  #owner: Owner | null;

  private constructor(disk: Disk, directory: string, owner: Owner | null) {
    this.#disk = disk;
    this.directory = directory;
    this.#owner = owner;
  }

  /** In place: of the two files one is whole whatever becomes of this, and no new space is needed when the disk is full. */
  async #writeFile(path: string, bytes: Buffer): Promise<void> {
    const isNew = !this.#disk.exists(path);
    const file = this.#disk.open(path);
    try {
      if (file.sizeBytes() < bytes.length) await file.reserve(bytes.length);
      await file.write(bytes, 0);
      await file.datasync();
    } finally {
      file.close();
    }
    if (isNew) await this.#disk.syncDirectory(this.directory);
  }

  /** UNSUPPORTED where another version made it, CORRUPT where it cannot be told whose it is. */
  static open(disk: Disk, directory: string): CacheHome {
    disk.makeDirectory(directory);
    return new CacheHome(disk, directory, readEither(disk, directory));
  }

  /** As `open`, where there is a cache; null where there is none. */
  static find(disk: Disk, directory: string): CacheHome | null {
    return CacheHome.exists(disk, directory) ? CacheHome.open(disk, directory) : null;
  }

  static exists(disk: Disk, directory: string): boolean {
    return disk.exists(`${directory}/${NAME}`);
  }

  /** Removes the cache in the directory, whatever is in it and whosesoever it is. */
  static discard(disk: Disk, directory: string): void {
    removeCache(disk, directory);
    for (const name of [NAME, COPY_NAME]) disk.remove(`${directory}/${name}`);
  }

  /** Whose cache it is, or null where there is none yet. */
  get volumeId(): string | null {
    return this.#owner?.volumeId ?? null;
  }

  /** Whether the token was ours. */
  hasToken(token: string | null): boolean {
    return token !== null && (this.#owner?.tokens.includes(token) ?? false);
  }

  /** Whether the holder of the lease was this cache's, with nobody between it and those before it. */
  follows(lease: { readonly holder: string; readonly previousHolder: string | null } | null): boolean {
    if (this.#owner === null || lease === null) return false;
    const { holder, links } = this.#owner;
    if (lease.holder === holder) return true;
    return links.some((link) => link.holder === lease.holder && link.after === lease.previousHolder);
  }

  /**
   * A claim of ours is about to be made, after a holder that this cache follows: remembered before, so that a crash right
   * after it does not make us strangers to our own cache. `suspectSince`: others may have written the volume since then, and our
   * claims will cover that. Nothing is remembered where there is no cache yet.
   */
  async expectClaim(link: Link, token: string, suspectSince: Date | null): Promise<void> {
    const owner = this.#owner;
    if (owner === null) return;
    const tokens = [...new Set([token, ...owner.tokens])].slice(0, LINKS_MAX);
    const since = owner.suspectSince ?? suspectSince?.toISOString() ?? null;
    await this.#write({ ...owner, links: [link, ...owner.links].slice(0, LINKS_MAX), tokens, suspectSince: since });
  }

  /** Since when cached pages may be out of date, or null: see Owner. */
  get suspectSince(): Date | null {
    const since = this.#owner?.suspectSince ?? null;
    return since === null ? null : new Date(since);
  }

  /** The claim that stands. */
  async settleClaim(
    { volumeId, url }: { readonly volumeId: string; readonly url: string },
    holder: string | null,
    token: string,
    suspectSince: Date | null,
  ): Promise<void> {
    const since = suspectSince === null ? null : suspectSince.toISOString();
    await this.#write({ volumeId, url, holder, links: [], tokens: [token], suspectSince: since });
  }

  /** No cached page is out of date any more. */
  async noteTrusted(): Promise<void> {
    if (this.#owner !== null) await this.#write({ ...this.#owner, suspectSince: null });
  }

  /** Removes the cache of another volume, or of a copy of this one. CONFLICT where it has writes that are in no bucket. */
  async clearForeign(volumeId: string | null, url: string): Promise<void> {
    if (this.#owner === null) return;
    const { volumeId: other, url: place } = this.#owner;
    if (other === volumeId && place === url) return;
    if (await this.hasUnsaved()) {
      const whose = other === volumeId ? `the volume at ${place}, and not at ${url},` : `another volume (${other})`;
      throw new StorageError(
        'CONFLICT',
        `the cache in ${this.directory} is of ${whose} and has writes that are not in its bucket. ${WAYS_OUT}`,
      );
    }
    this.remove();
  }

  /** Whether it has writes that are not in the bucket. CORRUPT where that cannot be told. */
  async hasUnsaved(): Promise<boolean> {
    return this.#owner !== null && hasUnsaved(this.#disk, this.directory, this.#owner.volumeId);
  }

  /** CONFLICT where it has writes that are not in the bucket: somebody else has written the volume since. */
  async refuseUnsaved(): Promise<void> {
    if (await this.hasUnsaved()) throw staleCache(this.directory);
  }

  /** Removes the cache, whatever is in it. */
  remove(): void {
    CacheHome.discard(this.#disk, this.directory);
    this.#owner = null;
  }

  async #write(owner: Owner): Promise<void> {
    const value = { format: FORMAT, version: VERSION, ...owner };
    const text = Buffer.from(`${JSON.stringify({ ...value, checksum: checksumOf(value) }, null, 2)}\n`);
    const bytes = Buffer.alloc(Math.ceil(text.length / RESERVED_BYTES) * RESERVED_BYTES, ' ');
    text.copy(bytes);
    for (const name of [COPY_NAME, NAME]) await this.#writeFile(`${this.directory}/${name}`, bytes);
    this.#owner = owner;
  }
}

function readEither(disk: Disk, directory: string): Owner | null {
  try {
    return readOwner(disk, `${directory}/${NAME}`);
  } catch (error) {
    const copy = `${directory}/${COPY_NAME}`;
    if (!isStorageError(error, 'CORRUPT') || !disk.exists(copy)) throw error;
    return readOwner(disk, copy);
  }
}

function readOwner(disk: Disk, path: string): Owner | null {
  if (!disk.exists(path)) return null;
  const file = disk.open(path);
  let value: Partial<Owner> & { format?: unknown; version?: unknown; checksum?: unknown };
  try {
    const text = Buffer.alloc(file.sizeBytes());
    file.readSync(text, 0);
    value = JSON.parse(text.toString('utf8')) ?? {};
  } catch (cause) {
    throw damagedOwner(path, cause);
  } finally {
    file.close();
  }
  const { checksum, ...checked } = value;
  if (checksum !== checksumOf(checked)) throw damagedOwner(path);
  if (value.format !== FORMAT || value.version !== VERSION) {
    throw new StorageError('UNSUPPORTED', `${path} is of another version of bucketdisk. ${WAYS_OUT_OF_VERSION}`);
  }
  const { volumeId, url, holder, links, tokens, suspectSince } = value;
  const sound =
    typeof volumeId === 'string' &&
    typeof url === 'string' &&
    (holder === null || typeof holder === 'string') &&
    Array.isArray(links) &&
    links.every(isLink) &&
    Array.isArray(tokens) &&
    tokens.every((token) => typeof token === 'string') &&
    (suspectSince === null || (typeof suspectSince === 'string' && !Number.isNaN(Date.parse(suspectSince))));
  if (!sound) throw damagedOwner(path);
  return { volumeId, url, holder, links, tokens, suspectSince };
}

function damagedOwner(path: string, cause?: unknown): StorageError {
  return new StorageError('CORRUPT', `cannot tell whose cache this is: ${path} is damaged. ${GIVE_UP}`, { cause });
}

function checksumOf(value: object): number {
  return crc32(JSON.stringify(value));
}

function isLink(value: unknown): value is Link {
  const { holder, after } = (value ?? {}) as Partial<Link>;
  return typeof holder === 'string' && (after === null || typeof after === 'string');
}
