/** Where a store or a volume is: the urls of the configuration, normalised, and what each volume's keys begin with. */
import { resolve } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { show } from './problems.ts';
import type { StoreSettings, VolumeSettings } from './settings.ts';

export type StoreUrl =
  /** `prefix` has no slash at its ends, and is empty for a whole bucket. */
  | { readonly kind: 's3'; readonly bucket: string; readonly prefix: string }
  /** `dir` is absolute. */
  | { readonly kind: 'file'; readonly dir: string }
  /** `name` tells several of them apart. */
  | { readonly kind: 'memory'; readonly name: string };

/** Throws an Error that says what is expected. A `file:` url may be relative to `cwd`. */
export function parseStoreUrl(text: string, cwd: string): StoreUrl {
  if (text.startsWith('s3:')) return parseS3Url(text);
  if (text.startsWith('file:')) return { kind: 'file', dir: parseFileUrl(text, cwd) };
  if (/^memory:[a-z0-9-]*$/.test(text)) return { kind: 'memory', name: text.slice('memory:'.length) };
  throw new Error(`expected a url such as "s3://bucket/prefix" or "file:/var/lib/bucket", not ${show(text)}`);
}

/** The one spelling of it: `s3://bucket/prefix`, `file:///dir`, `memory:`. */
export function formatStoreUrl(url: StoreUrl): string {
  if (url.kind === 'memory') return `memory:${url.name}`;
  if (url.kind === 'file') return pathToFileURL(url.dir).href;
  return url.prefix === '' ? `s3://${url.bucket}` : `s3://${url.bucket}/${url.prefix}`;
}

/** The bucket of a volume, and what each of its keys begins with. */
export interface VolumeLocation {
  /** Without a prefix: `s3://bucket`, `file:///dir`, `memory:`. */
  readonly storeUrl: string;
  /** Empty, or exactly what stands before the block number. */
  readonly keyPrefix: string;
}

/** Without a url of its own a volume lies in the store, below its name. Both urls are normalised ones. */
export function volumeLocation(
  store: Pick<StoreSettings, 'url'>,
  volume: Pick<VolumeSettings, 'name' | 'url' | 'keyPrefix'>,
): VolumeLocation {
  const url = parseStoreUrl(volume.url ?? store.url, '/');
  const base = url.kind === 's3' ? url.prefix : '';
  const segments = [base, volume.url === null ? volume.name : ''].filter((segment) => segment !== '');
  const keyPrefix = volume.keyPrefix ?? segments.map((segment) => `${segment}/`).join('');
  return { storeUrl: formatStoreUrl(url.kind === 's3' ? { ...url, prefix: '' } : url), keyPrefix };
}

function parseS3Url(text: string): StoreUrl {
  if (/^s3:\/\/[^/]*@/.test(text)) {
    throw new Error('expected a url without credentials: set store.accessKeyId and store.secretAccessKey');
  }
  const match = /^s3:\/\/([A-Za-z0-9][A-Za-z0-9._-]{1,253}[A-Za-z0-9])(?:\/(.*))?$/.exec(text);
  const bucket = match?.[1];
  const prefix = (match?.[2] ?? '').replace(/\/$/, '');
  const malformed = prefix.split('/').some((segment) => segment === '.' || segment === '..' || segment === '');
  if (bucket === undefined || (prefix !== '' && malformed) || /[?#\p{Cc}]/u.test(prefix)) {
    const given = /^s3:\/\/([^/]+)/.exec(text)?.[1];
    const why = bucket === undefined && given !== undefined ? `: no bucket can be called ${show(given)}` : '';
    throw new Error(`expected "s3://bucket" or "s3://bucket/prefix", not ${show(text)}${why}`);
  }
  if (Buffer.byteLength(prefix) > 900) throw new Error('expected a prefix of at most 900 bytes');
  return { kind: 's3', bucket, prefix };
}

function parseFileUrl(text: string, cwd: string): string {
  const path = text.slice('file:'.length);
  try {
    if (/^\/\/(localhost)?\//.test(path)) return resolve(fileURLToPath(text));
    const decoded = decodeURIComponent(path);
    if (decoded !== '' && !decoded.startsWith('//') && !/\p{Cc}/u.test(decoded)) return resolve(cwd, decoded);
  } catch {
    // Not decodable: told below, like every other mistake.
  }
  throw new Error(`expected a directory such as "file:data" or "file:///var/lib/bucket", not ${show(text)}`);
}
