/** The settings of the volumes, with the checks that need more than one value or more than one volume. */
import { getCipherInfo } from 'node:crypto';
import { formatSize, parseSize } from '../lib/units.ts';
import { accessRules } from './access-rules.ts';
import type { SpelledVolume } from './schema.ts';
import type { Compression, EncryptionSettings, Settings, StoreSettings, VolumeSettings } from './settings.ts';
import { formatStoreUrl, parseStoreUrl, volumeLocation } from './store-url.ts';
import type { Report } from './to-settings.ts';

const CIPHER_DEFAULT = 'AES-256-CBC';
const BLOCK_SIZE_DEFAULT = 2 ** 20;
/** Block numbers are 8 hex digits in a key. */
const BLOCKS_MAX = 2 ** 32 - 1;
/** OpenSSL's EVP_MAX_KEY_LENGTH, which s3backer bounds keys by. */
const KEY_BYTES_MAX = 64;
const LEVEL_MAX = { deflate: 9, zstd: 22 };

/** One volume. Paths that are reported are relative to it: `size`. */
export function toVolumeSettings(
  name: string,
  spelled: SpelledVolume,
  { cache }: Pick<Settings, 'cache'>,
  cwd: string,
  report: Report,
): VolumeSettings {
  const sizeBytes = spelled.size === null ? null : parseSize(spelled.size);
  const blockSizeBytes = spelled.blockSize === null ? null : parseSize(spelled.blockSize);
  if (sizeBytes !== null) checkSize(sizeBytes, blockSizeBytes, report);
  const url = spelled.url === null ? null : parseStoreUrl(spelled.url, cwd);
  if (url?.kind === 's3' && url.prefix !== '' && spelled.keyPrefix !== null) {
    report('keyPrefix', `the url already says what keys begin with ("${url.prefix}/"): give one of them`);
  }
  return {
    name,
    sizeBytes,
    layout: spelled.layout,
    blockSizeBytes,
    durability: durability(spelled, cache.sizeBytes > 0, report),
    compress: compression(spelled, report),
    compressLevel: spelled.compressLevel,
    encryption: encryption(spelled, report),
    readOnly: spelled.readOnly,
    sharedDisk: spelled.sharedDisk,
    url: url === null ? null : formatStoreUrl(url),
    keyPrefix: spelled.keyPrefix,
    blockHashPrefix: spelled.blockHashPrefix,
    survey: spelled.survey,
    default: spelled.default,
    access: spelled.access === null ? null : accessRules(spelled.access),
    description: spelled.description,
  };
}

/** What must hold between volumes. Paths that are reported are whole: `volumes.media.url`. */
export function checkVolumes(
  store: Pick<StoreSettings, 'url'>,
  volumes: readonly VolumeSettings[],
  report: Report,
): void {
  const defaults = volumes.filter((volume) => volume.default);
  for (const { name } of defaults.slice(1)) {
    report(`volumes.${name}.default`, `volume ${defaults[0]?.name} is the default one already`);
  }
  const places = new Map<string, string>();
  for (const volume of volumes) {
    const { storeUrl, keyPrefix } = volumeLocation(store, volume);
    // The directory of one `file:` store may lie in that of another, so that only the whole path tells.
    const place = `${storeUrl}/${keyPrefix}`.replace(/\/+$/, '');
    const other = places.get(place);
    if (other === undefined) places.set(place, volume.name);
    else
      report(
        `volumes.${volume.name}`,
        `volume ${other} has the same place, ${place}: their blocks would overwrite each other`,
      );
  }
}

function checkSize(sizeBytes: number, blockSizeBytes: number | null, report: Report): void {
  const blockBytes = blockSizeBytes ?? BLOCK_SIZE_DEFAULT;
  const block = blockSizeBytes === null ? `the default block size ${formatSize(blockBytes)}` : formatSize(blockBytes);
  const below = sizeBytes - (sizeBytes % blockBytes);
  if (below !== sizeBytes) {
    const good = [below, below + blockBytes].filter((size) => size > 0).map((size) => `"${formatSize(size)}"`);
    report('size', `expected a multiple of ${block}, such as ${good.join(' or ')}, not "${formatSize(sizeBytes)}"`);
  }
  if (sizeBytes / blockBytes > BLOCKS_MAX) {
    const needed = 2 ** Math.ceil(Math.log2(sizeBytes / BLOCKS_MAX));
    report(
      'blockSize',
      `too many blocks with ${block}: a disk of ${formatSize(sizeBytes)} needs at least "${formatSize(needed)}"`,
    );
  }
}

/** Volumes that are only read, or that others write too, have no cache of their own: what is there could be stale. */
function durability(spelled: SpelledVolume, cached: boolean, report: Report): VolumeSettings['durability'] {
  const { readOnly, sharedDisk } = spelled;
  if (spelled.durability === 'local') {
    if (!cached) report('durability', 'local needs a cache: set cache.size, or take "s3"');
    else if (sharedDisk) report('durability', 'a shared disk has no cache: take "s3"');
  }
  return spelled.durability ?? (cached && !readOnly && !sharedDisk ? 'local' : 's3');
}

function compression(spelled: SpelledVolume, report: Report): Compression {
  const encrypted = spelled.encrypt !== null && spelled.encrypt !== false;
  if (encrypted && spelled.compress === 'none') {
    report('compress', 'encryption implies compression: expected "deflate" or "zstd"');
  }
  const compress = spelled.compress ?? (encrypted ? 'deflate' : 'none');
  if (spelled.compressLevel !== null) {
    if (compress === 'none') report('compressLevel', 'needs a compress of "deflate" or "zstd"');
    else if (spelled.compressLevel > LEVEL_MAX[compress]) {
      report('compressLevel', `expected at most ${LEVEL_MAX[compress]} for ${compress}, not ${spelled.compressLevel}`);
    }
  }
  return compress;
}

function encryption(spelled: SpelledVolume, report: Report): EncryptionSettings | null {
  const { encrypt, password, keyLength } = spelled;
  if (encrypt === null || encrypt === false) {
    if (password !== null) report('password', 'needs encrypt: true, or the name of a cipher');
    if (keyLength !== null) report('keyLength', 'needs encrypt: true, or the name of a cipher');
    return null;
  }
  const info = getCipherInfo(encrypt === true ? CIPHER_DEFAULT : encrypt);
  const cipher = (info?.name ?? CIPHER_DEFAULT).toUpperCase();
  if (keyLength !== null && info !== undefined && (keyLength < info.keyLength || keyLength > KEY_BYTES_MAX)) {
    report('keyLength', `expected ${info.keyLength} to ${KEY_BYTES_MAX} bytes for ${cipher}, not ${keyLength}`);
  }
  if (password === null) {
    report('password', 'missing: an encrypted volume needs a password, or a passwordFile');
    return null;
  }
  return { cipher, password, keyLengthBytes: keyLength };
}
