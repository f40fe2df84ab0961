/** The lease object's body. */
import { StorageError } from '../lib/errors.ts';
import type { ObjectData, ObjectStore } from '../object/object-store.ts';

const FORMAT = 'bucketdisk-lease';
const VERSION = 1;

export interface LeaseDocument {
  /** A nonce of one holding: tells our own renewals from everybody else's. */
  readonly holder: string;
  readonly instance: string;
  readonly host: string;
  readonly pid: number;
  /** The one before it, or null: the first, or one made by a version that did not say. */
  readonly previousHolder: string | null;
  /** Counts the holders. */
  readonly epoch: number;
  /** Counts the renewals of this holder. */
  readonly renewal: number;
  /** ISO 8601, by the holder's clock: for people only. */
  readonly renewedAt: string;
  readonly durationMs: number;
  /** The s3backer tokens this holder and those before it may have left behind, the newest first. */
  readonly tokens: readonly string[];
  /** Taken from a holder that may be alive, and which may go on writing for `durationMs` from now: nobody may write yet. */
  readonly settling: boolean;
  /** The holder has given it up. */
  readonly released: boolean;
}

export function formatLease(document: LeaseDocument): Buffer {
  return Buffer.from(`${JSON.stringify({ format: FORMAT, version: VERSION, ...document }, null, 2)}\n`);
}

/** INVALID where it is not a lease this version understands: then somebody has to look, and nobody may write. */
export function parseLease(object: ObjectData): LeaseDocument {
  let value: Partial<LeaseDocument> & { format?: unknown; version?: unknown };
  try {
    value = JSON.parse(object.body.toString('utf8'));
  } catch (cause) {
    throw notOurs(object.key, cause);
  }
  const { holder, instance, host, pid, epoch, renewal, renewedAt, durationMs, tokens } = value ?? {};
  const { settling, released } = value ?? {};
  const previousHolder = typeof value?.previousHolder === 'string' ? value.previousHolder : null;
  const sound =
    value?.format === FORMAT &&
    value.version === VERSION &&
    typeof holder === 'string' &&
    typeof instance === 'string' &&
    typeof host === 'string' &&
    typeof pid === 'number' &&
    typeof epoch === 'number' &&
    typeof renewal === 'number' &&
    typeof renewedAt === 'string' &&
    typeof durationMs === 'number' &&
    durationMs > 0 &&
    Array.isArray(tokens) &&
    tokens.every((token) => typeof token === 'string') &&
    typeof settling === 'boolean' &&
    typeof released === 'boolean';
  if (!sound) throw notOurs(object.key);
  return {
    holder,
    previousHolder,
    instance,
    host,
    pid,
    epoch,
    renewal,
    renewedAt,
    durationMs,
    tokens,
    settling,
    released,
  };
}

export interface FoundLease {
  readonly document: LeaseDocument;
  readonly etag: string;
  /** When it last changed, by the store's clock. */
  readonly changedAt: Date | undefined;
}

/** The lease as it is now, or null where there is none. INVALID as parseLease. */
export async function readLease(store: ObjectStore, key: string, signal: AbortSignal): Promise<FoundLease | null> {
  const object = await store.get(key, { signal });
  return object === null ? null : { document: parseLease(object), etag: object.etag, changedAt: object.lastModified };
}

function notOurs(key: string, cause?: unknown): StorageError {
  return new StorageError(
    'INVALID',
    `the object ${key} is not a lease that this version understands; delete it if no other appliance uses the volume`,
    {
      cause,
    },
  );
}
