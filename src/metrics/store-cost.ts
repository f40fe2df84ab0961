/** What the requests to a bucket cost, as S3 puts them on its bill. */
import type { StoreMetricsSnapshot, StoreOperation } from '../object/store-metrics.ts';
import type { Prices } from './sources.ts';

/** A multi-delete is free, a listing costs what a PUT does. */
const REQUEST_CLASSES: Readonly<Record<'write' | 'read' | 'free', readonly StoreOperation[]>> = {
  write: ['put', 'list'],
  read: ['get', 'head'],
  free: ['delete'],
};

const GIB = 2 ** 30;

/** Attempts by class: those that failed are on the bill too. */
export function billedRequests({ operations }: StoreMetricsSnapshot): Record<'write' | 'read' | 'free', number> {
  const count = (name: keyof typeof REQUEST_CLASSES): number =>
    REQUEST_CLASSES[name].reduce((sum, operation) => sum + operations[operation].attempts, 0);
  return { write: count('write'), read: count('read'), free: count('free') };
}

export function storeCost(
  metrics: StoreMetricsSnapshot,
  prices: Prices,
): Record<'write' | 'read' | 'received', number> {
  const { write, read } = billedRequests(metrics);
  return {
    write: (write * prices.writesPerThousand) / 1000,
    read: (read * prices.readsPerThousand) / 1000,
    received: (metrics.bytesDown / GIB) * prices.receivedPerGib,
  };
}
