/** Having block 0 and the volume's record say what was settled from the two of them. */
import { describeError, isStorageError } from '../lib/errors.ts';
import type { Log } from '../lib/log.ts';
import type { ObjectStore } from '../object/object-store.ts';
import type { Hold } from './hold.ts';
import type { Identity } from './identity.ts';
import type { Inspection } from './inspect.ts';
import { writeRecord } from './volume-record.ts';

export interface CorrectOptions {
  /** Has block 0 say what was settled. CANCELLED when the signal aborts: it may be under way still. */
  readonly rewriteBlock0: (signal: AbortSignal) => Promise<void>;
  /** Fenced. */
  readonly store: ObjectStore;
  readonly recordKey: string;
  /** The store honours conditional puts. */
  readonly conditional: boolean;
  /** Others may be writing block 0. */
  readonly shared: boolean;
  readonly hold: Hold;
  readonly signal: AbortSignal;
  readonly log: Log;
}

/**
 * In a store that honours conditional puts the record first: written so, it keeps what may arrive late of a resize from counting. A block 0 that counts beyond
 * that, and comes late itself, would take it back once it has been shown. In another store block 0 first, which tells a late record; and where it tells of
 * no resize of ours, as nothing but the record says that what it tells is not to be believed. CONFLICT where the record is not what was looked at any
 * more, as a put of before has arrived: that may be the end of a resize, which must not be overwritten unseen.
 */
export async function correctSizes(identity: Identity, inspection: Inspection, options: CorrectOptions): Promise<void> {
  const { block0Differs, recordDecides, stale } = identity;
  const corrects = block0Differs && !options.shared;
  const recordFirst = recordDecides && options.conditional;
  if (corrects && !recordFirst) await correctBlock0(identity, options);
  if (stale) await correctRecord(identity, inspection, options);
  if (corrects && recordFirst) await correctBlock0(identity, options);
}

async function correctRecord(
  { record }: Identity,
  { record: found, recordEtag }: Inspection,
  { store, recordKey, conditional, signal, log }: CorrectOptions,
): Promise<void> {
  await writeRecord(store, recordKey, record, {
    signal,
    ...(conditional && recordEtag !== null ? { ifMatch: recordEtag } : {}),
  });
  const { sizeBytes } = record;
  const resizeToBytes = found?.resizeToBytes ?? null;
  if (resizeToBytes === null) log.info('the record of volume was brought up to date', { sizeBytes });
  else log.warn('a resize of the volume had not ended, and has been settled', { sizeBytes, resizeToBytes });
}

async function correctBlock0(
  { record: { sizeBytes }, recordDecides }: Identity,
  { rewriteBlock0, hold, signal, log }: CorrectOptions,
): Promise<void> {
  try {
    await rewriteBlock0(signal);
  } catch (error) {
    // Block 0 may be under way still, and nobody else may write before it has arrived.
    if (signal.aborted) await hold.abandon();
    if (!recordDecides || !isStorageError(error, 'CORRUPT')) throw error;
    const damaged =
      'block 0 is damaged and goes on telling of another resize: s3backer must not mount the volume until it is repaired';
    log.warn(damaged, { sizeBytes, error: describeError(error) });
    return;
  }
  const corrected =
    'block 0 told of another resize, as a request was cut off or has arrived late: it has been corrected';
  log.warn(corrected, { sizeBytes });
}
