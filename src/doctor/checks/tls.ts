/** The check of the files of TLS: whether the appliance could start with them. */
import { isStorageError } from '../../lib/errors.ts';
import { approximateDuration } from '../../lib/units.ts';
import { fail, ok, type Result, warn } from '../finding.ts';

/** What is in the files, of what they hold. */
export interface TlsFacts {
  readonly certificate: { readonly subject: string; readonly validTo: Date } | null;
  readonly pskKeys: { readonly size: number } | null;
}

/**
 * `load` reads the files, and rejects with INVALID where they are no good; null: TLS is off. `warningMs`: so long before a certificate
 * expires that is told.
 */
export async function checkTls(
  load: (() => Promise<TlsFacts>) | null,
  now: Date,
  warningMs: number,
): Promise<Result[]> {
  if (load === null) return [ok('TLS is off')];
  try {
    const { certificate, pskKeys } = await load();
    return [
      ...(certificate === null ? [] : [certificateResult(certificate, now, warningMs)]),
      ...(pskKeys === null ? [] : [ok(`pre-shared keys of ${pskKeys.size} users`)]),
    ];
  } catch (error) {
    if (!isStorageError(error)) throw error;
    return [fail(error.message, 'correct the files that nbd.tls names: the appliance does not start with them')];
  }
}

function certificateResult(
  { subject, validTo }: NonNullable<TlsFacts['certificate']>,
  now: Date,
  warningMs: number,
): Result {
  const leftMs = validTo.getTime() - now.getTime();
  const until = `the certificate of ${subject}`;
  const renew = 'make a new one: it is read while the appliance runs (docs/TLS.md)';
  if (leftMs <= 0) return fail(`${until} has expired, on ${validTo.toISOString().slice(0, 10)}`, renew);
  if (leftMs < warningMs) return warn(`${until} expires in ${approximateDuration(leftMs)}`, renew);
  return ok(`${until} is valid until ${validTo.toISOString().slice(0, 10)}`);
}
