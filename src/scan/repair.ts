/** Puts back what the cache still has, and keeps what it replaces elsewhere first. Nothing is deleted that is nowhere else. */
import type { Clock } from '../lib/clock.ts';
import { describeError, isStorageError, StorageError } from '../lib/errors.ts';
import type { Log } from '../lib/log.ts';
import type { Volume } from '../volume/volume.ts';
import { volumeKeys } from '../volume/volume-keys.ts';
import type { Findings, OpenFinding } from './findings.ts';
import type { Pace } from './pace.ts';
import type { RepairState } from './scan-report.ts';

/** Of a block that clients write to all the time. */
const ATTEMPTS_MAX = 20;
const BUSY_PAUSE_MS = 100;
/** A larger one might be uploaded in two parts, and the first of them would ask for what is damaged. */
const BLOCK_BYTES_MAX = 16 * 1024 * 1024;

export interface RepairOptions {
  readonly volume: Volume;
  readonly findings: Findings;
  readonly pace: Pace;
  readonly clock: Clock;
  readonly signal: AbortSignal;
  /** When the scan began: what is replaced is kept under that time. */
  readonly at: Date;
  readonly log: Log;
  readonly onDone: (done: number, total: number) => void;
}

/** READ_ONLY where the volume is not held, FENCED where it is lost meanwhile. */
export async function repairAll(options: RepairOptions): Promise<void> {
  const { volume, findings, pace, signal, log, onDone } = options;
  if (!volume.isHeld) {
    const message = `volume ${volume.name} may not be written here, so nothing is repaired: have the appliance repair it that serves it for writing`;
    throw new StorageError('READ_ONLY', message);
  }
  const open = findings.list().filter(({ damage, block }) => damage && block !== null);
  for (const [index, finding] of open.entries()) {
    await pace.step();
    let outcome: Outcome;
    try {
      outcome = await repairOne(finding, finding.block ?? 0, options);
    } catch (error) {
      if (signal.aborted || !isStorageError(error) || error.code === 'FENCED') throw error;
      outcome = { repair: 'failed', quarantineKey: null };
      log.warn('a block could not be repaired', { key: finding.key, error: describeError(error) });
    }
    findings.settle(finding, outcome.repair, outcome.quarantineKey);
    onDone(index + 1, open.length);
  }
}

interface Outcome {
  readonly repair: RepairState;
  readonly quarantineKey: string | null;
}

async function repairOne(finding: OpenFinding, block: number, options: RepairOptions): Promise<Outcome> {
  const { volume, signal, log } = options;
  const { inspector, cached } = volume;
  const impossible: Outcome = { repair: 'impossible', quarantineKey: null };
  if (finding.kind === 'unexpected') {
    const quarantineKey = await quarantine(finding, block, options);
    if (quarantineKey === null || finding.etag === null) return { repair: 'failed', quarantineKey };
    const isGone = await inspector.removeUnexpected(block, finding.etag, signal);
    return { repair: isGone ? 'repaired' : 'failed', quarantineKey };
  }
  if (cached === null || inspector.blockSizeBytes > BLOCK_BYTES_MAX) return impossible;
  // Whether all of it is here is found out before anything is moved.
  const offset = block * inspector.blockSizeBytes;
  if (cached.check.here(offset, inspector.blockSizeBytes) === null) return impossible;
  // What is gone, or what the store does not give out, cannot be kept.
  const quarantineKey = finding.etag === null ? null : await quarantine(finding, block, options);
  if (finding.etag !== null && quarantineKey === null) return { repair: 'failed', quarantineKey };
  for (let attempts = 0; ; attempts++) {
    const answer = cached.rewrite(offset, inspector.blockSizeBytes);
    if (answer === 'absent') return { ...impossible, quarantineKey };
    await cached.uploadAll(signal);
    if (answer === 'rewritten') break;
    if (attempts === ATTEMPTS_MAX) return { repair: 'failed', quarantineKey };
    await options.clock.sleep(BUSY_PAUSE_MS, signal);
  }
  const problem = await inspector.look(block, { deep: true }, signal);
  if (problem === null) {
    log.info('repaired a block from the cache', { key: finding.key, quarantineKey });
    return { repair: 'repaired', quarantineKey };
  }
  return { repair: 'failed', quarantineKey };
}

/** The key under which the object is kept now; null where it is not the one that was found. */
async function quarantine(finding: OpenFinding, block: number, options: RepairOptions): Promise<string | null> {
  const { volume, at, signal } = options;
  const object = await volume.inspector.fetch(block, signal);
  if (object === null || object.etag !== finding.etag) return null;
  const { prefix } = volume.options;
  const stamp = at.toISOString().replace(/[-:]|\.\d+/g, '');
  const key = `${volumeKeys(prefix).quarantine}${stamp}/${object.key.slice(prefix.length)}`;
  const { contentType, contentEncoding, metadata } = object;
  await volume.store.put(key, object.body, {
    headers: {
      metadata,
      ...(contentType === undefined ? {} : { contentType }),
      ...(contentEncoding === undefined ? {} : { contentEncoding }),
    },
    signal,
  });
  return key;
}
