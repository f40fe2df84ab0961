/** The ways a blocks layout can be set up, for suites that run on each of them. */
import { BlockCipher } from '../../../src/layout/blocks/block-cipher.ts';
import { BlockCodec } from '../../../src/layout/blocks/block-codec.ts';
import { BlockKeys } from '../../../src/layout/blocks/block-keys.ts';
import { BlocksLayout } from '../../../src/layout/blocks/blocks-layout.ts';
import { type Clock, SystemClock } from '../../../src/lib/clock.ts';
import { type Log, silentLog } from '../../../src/lib/log.ts';
import type { ObjectStore } from '../../../src/object/object-store.ts';

export interface BlocksVariant {
  readonly blockSizeBytes: number;
  readonly compress: 'none' | 'deflate' | 'zstd';
  readonly cipher: string | null;
  readonly hashed: boolean;
  readonly exclusive: boolean;
}

export const PREFIX = 'vol/';
export const PLAIN: BlocksVariant = {
  blockSizeBytes: 4096,
  compress: 'none',
  cipher: null,
  hashed: false,
  exclusive: true,
};

export const VARIANTS: Readonly<Record<string, BlocksVariant>> = {
  plain: PLAIN,
  deflate: { ...PLAIN, compress: 'deflate' },
  zstd: { ...PLAIN, compress: 'zstd', blockSizeBytes: 8192 },
  'AES-256-CBC and zstd': { ...PLAIN, compress: 'zstd', cipher: 'AES-256-CBC' },
  'hashed keys': { ...PLAIN, hashed: true },
  'shared with other writers': { ...PLAIN, exclusive: false },
  'shared, hashed and encrypted': { ...PLAIN, exclusive: false, hashed: true, cipher: 'AES-128-CBC' },
  'blocks of 512 bytes': { ...PLAIN, blockSizeBytes: 512 },
  'blocks of 1536 bytes': { ...PLAIN, blockSizeBytes: 1536 },
  'blocks of 64 KiB': { ...PLAIN, blockSizeBytes: 65536 },
};

const ciphers = new Map<string, BlockCipher>();

/** Deriving keys takes milliseconds, which adds up over thousands of layouts. */
function cipherOf(name: string, salt: string): BlockCipher {
  const key = `${name} ${salt}`;
  let cipher = ciphers.get(key);
  if (cipher === undefined) {
    cipher = new BlockCipher({ cipher: name, password: 'secret', salt, keyLengthBytes: null });
    ciphers.set(key, cipher);
  }
  return cipher;
}

export function openBlocks(
  store: ObjectStore,
  variant: BlocksVariant,
  sizeBytes: number,
  {
    inFlightBlocksMax = 16,
    clock = new SystemClock(),
    log = silentLog,
  }: { inFlightBlocksMax?: number; clock?: Clock; log?: Log } = {},
): BlocksLayout {
  const { blockSizeBytes, compress, cipher, hashed, exclusive } = variant;
  return new BlocksLayout({
    store,
    keys: new BlockKeys(PREFIX, hashed),
    codec: new BlockCodec({
      blockSizeBytes,
      compress,
      compressLevel: null,
      cipher: cipher === null ? null : cipherOf(cipher, `${store.bucket}/${PREFIX}`),
    }),
    sizeBytes,
    blockSizeBytes,
    mark: { volumeId: 'volume', resizes: 0 },
    exclusive,
    inFlightBlocksMax,
    clock,
    log,
  });
}
