/** `bucketdisk bench`: measures one's own bucket and one's own disk. */
import { randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import { adviceFor } from './bench/advice.ts';
import { benchDisk } from './bench/disk-bench.ts';
import { benchStore } from './bench/store-bench.ts';
import type { BenchOptions, BenchOutcome, CommandContext } from './cli/actions.ts';
import { formatStoreUrl, parseStoreUrl } from './config/store-url.ts';
import { SystemClock } from './lib/clock.ts';
import { StorageError } from './lib/errors.ts';
import { Stores } from './stores.ts';

const SIZES_BYTES = [256 * 2 ** 10, 2 ** 20, 4 * 2 ** 20];
const CONCURRENCIES = [1, 4, 16];

export async function bench(context: CommandContext, options: BenchOptions): Promise<BenchOutcome> {
  const { settings } = context;
  const { store, cache, durationMs, onProgress } = options;
  const parts = Number(store) + Number(cache);
  const tell = (done: number): void => onProgress({ unit: '%', done: Math.floor((done / parts) * 100), total: 100 });
  const disk = cache
    ? await benchDisk({
        directory: cacheDir(settings.cache.dir),
        durationMs: durationMs / parts,
        signal: context.signal,
        onProgress: tell,
      })
    : null;
  const figures = store ? await benchBucket(context, durationMs / parts, (share) => tell(share + Number(cache))) : null;
  return {
    store: figures === null ? null : { url: settings.store.url, figures },
    cache: disk === null ? null : { dir: settings.cache.dir, ...disk },
    advice: adviceFor(figures ?? [], disk, settings.cache.logSizeBytes),
  };
}

async function benchBucket(
  { settings, log, signal }: CommandContext,
  durationMs: number,
  onProgress: (share: number) => void,
) {
  const clock = new SystemClock();
  const stores = new Stores({ settings, clock, log });
  try {
    const url = parseStoreUrl(settings.store.url, '/');
    const [storeUrl, base] =
      url.kind === 's3' ? [formatStoreUrl({ ...url, prefix: '' }), url.prefix] : [settings.store.url, ''];
    const concurrencies = CONCURRENCIES.filter((count) => count <= settings.store.concurrency);
    return await benchStore(await stores.controlStore(storeUrl), {
      prefix: `${base === '' ? '' : `${base}/`}bucketdisk-bench-${randomBytes(6).toString('hex')}/`,
      ...{ sizesBytes: SIZES_BYTES, concurrencies, durationMs, clock, signal, onProgress },
    });
  } finally {
    await stores.close();
  }
}

/** It is not made for this: whoever serves later would be somebody else. */
function cacheDir(dir: string): string {
  if (existsSync(dir)) return dir;
  throw new StorageError(
    'INVALID',
    `${dir} (cache.dir) is not there: start the appliance once, or make it, or leave out --cache`,
  );
}
