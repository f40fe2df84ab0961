/** Scans of volumes in a bucket in memory, with and without a cache, on virtual time. */
import type { Finding, FindingKind, ScanReport } from '../../../src/scan/scan-report.ts';
import { ScanState } from '../../../src/scan/scan-state.ts';
import { type ScanContext, type ScanOptions, scanVolume } from '../../../src/scan/scan-volume.ts';
import type { Volume } from '../../../src/volume/volume.ts';
import { blockKey, type Machine } from '../cache/volume/fixtures.ts';
import { never } from '../volume/fixtures.ts';

export const SHALLOW: ScanOptions = { deep: false, share: 1, repair: false, rateBytes: null };
export const DEEP: ScanOptions = { ...SHALLOW, deep: true };
export const REPAIR: ScanOptions = { ...DEEP, repair: true };

export function beginScan(
  { bench: { clock, log } }: Machine,
  volume: Volume,
  options: ScanOptions,
  context: Partial<ScanContext> = {},
): Promise<ScanReport> {
  return scanVolume(options, {
    volume,
    by: 'appliance',
    state: new ScanState(null, '/state', 'vol', 'id', log),
    isBusy: () => false,
    mounted: null,
    onProgress: () => {},
    clock,
    log,
    signal: never,
    ...context,
  });
}

export function scan(
  machine: Machine,
  volume: Volume,
  options: ScanOptions,
  context: Partial<ScanContext> = {},
): Promise<ScanReport> {
  return machine.bench.clock.run(beginScan(machine, volume, options, context), 1e9);
}

/** Kinds that were found, with what became of them. */
export function found({ findings }: ScanReport): string[] {
  return findings.map(({ kind, repair }) => `${kind} ${repair}`);
}

export function only(report: ScanReport, kind: FindingKind): Finding {
  const [first, ...others] = report.findings;
  if (first?.kind !== kind || others.length > 0) throw new Error(`found ${found(report).join(', ') || 'nothing'}`);
  return first;
}

/** Changes an object behind the volume's back. */
export async function tamper(
  { bench: { store } }: Machine,
  block: number,
  change: (body: Buffer) => Buffer,
  metadata?: Readonly<Record<string, string>>,
): Promise<void> {
  const object = await store.inner.get(blockKey(block));
  if (object === null) throw new Error('there is no such block');
  const { contentType, contentEncoding } = object;
  await store.inner.put(object.key, change(object.body), {
    headers: {
      metadata: metadata ?? object.metadata,
      ...(contentType === undefined ? {} : { contentType }),
      ...(contentEncoding === undefined ? {} : { contentEncoding }),
    },
  });
}

export async function keysBelow({ bench: { store } }: Machine, prefix: string): Promise<string[]> {
  const keys: string[] = [];
  for await (const page of store.inner.list(prefix)) keys.push(...page.map(({ key }) => key));
  return keys;
}
