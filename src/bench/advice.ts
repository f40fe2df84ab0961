/** What the figures mean for the settings. */
import { approximateDuration, approximateSize, formatSize, milliseconds } from '../lib/units.ts';
import type { DiskFigures } from './disk-bench.ts';
import type { StoreFigure } from './store-bench.ts';

/** A larger block has to gain this much to be worth what small writes into it cost. */
const WORTH = 1.25;
/** A flush that takes longer is felt by databases and package managers. */
const FLUSH_MS_SLOW = 20;

export function adviceFor(store: readonly StoreFigure[], disk: DiskFigures | null, logSizeBytes: number): string[] {
  return [...blockSizeAdvice(store), ...durabilityAdvice(store, disk), ...logAdvice(store, disk, logSizeBytes)];
}

function blockSizeAdvice(store: readonly StoreFigure[]): string[] {
  const best = fastest(store, 'put').sort((a, b) => a.sizeBytes - b.sizeBytes);
  let [choice] = best;
  for (const figure of best) {
    if (choice !== undefined && figure.bytesPerSecond >= choice.bytesPerSecond * WORTH) choice = figure;
  }
  if (choice === undefined) return [];
  const speed = `${approximateSize(choice.bytesPerSecond)}/s with ${choice.concurrency} at once`;
  const size = formatSize(choice.sizeBytes);
  const larger = best.at(-1) === choice ? 'smaller ones are slower to upload' : 'larger ones gain little';
  return [
    `blockSize "${size}" uploads ${speed}; ${larger}. Smaller blocks suit small random writes, and cost more requests.`,
  ];
}

function durabilityAdvice(store: readonly StoreFigure[], disk: DiskFigures | null): string[] {
  const single = store.filter(({ operation, concurrency }) => operation === 'put' && concurrency === 1);
  const put = Math.min(...single.map(({ p50Ms }) => p50Ms));
  const lines: string[] = [];
  if (disk !== null) {
    const slow = disk.sync.p50Ms > FLUSH_MS_SLOW ? ': an SSD for cache.dir would be felt' : '';
    lines.push(
      `durability "local": a flush takes about ${milliseconds(disk.sync.p50Ms)}, and is on the cache's disk only${slow}.`,
    );
  }
  if (Number.isFinite(put)) {
    const slow = put > FLUSH_MS_SLOW ? ', which databases feel' : '';
    lines.push(`durability "s3": a flush takes at least ${milliseconds(put)}${slow}, and is in the bucket.`);
  }
  return lines;
}

function logAdvice(store: readonly StoreFigure[], disk: DiskFigures | null, logSizeBytes: number): string[] {
  const upload = Math.max(...fastest(store, 'put').map(({ bytesPerSecond }) => bytesPerSecond));
  if (disk === null || !Number.isFinite(upload) || upload <= 0) return [];
  const gain = disk.writeBytesPerSecond - upload;
  if (gain <= 0) return ['The bucket takes writes as fast as the disk: the write log hardly fills.'];
  const fullMs = (logSizeBytes / gain) * 1000;
  return [
    `Writing at the disk's full speed fills cache.logSize (${formatSize(logSizeBytes)}) in ${approximateDuration(Math.max(1000, fullMs))}, and goes on at ${approximateSize(upload)}/s.`,
  ];
}

/** The quickest of each size. */
function fastest(store: readonly StoreFigure[], operation: StoreFigure['operation']): StoreFigure[] {
  const bySize = Map.groupBy(
    store.filter((figure) => figure.operation === operation),
    ({ sizeBytes }) => sizeBytes,
  );
  return [...bySize.values()].flatMap((all) => all.reduce((a, b) => (b.bytesPerSecond > a.bytesPerSecond ? b : a)));
}
