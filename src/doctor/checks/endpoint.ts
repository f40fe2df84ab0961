/** Checks what an unsigned question to the S3 service tells: its clock, and the region of the bucket. */
import { fail, ok, type Result, warn } from '../finding.ts';

/** What the service answered to `HEAD bucket`. */
export interface EndpointAnswer {
  readonly status: number;
  /** Its `Date` header, or null. */
  readonly date: Date | null;
  /** Our own time when that was written, as near as can be told. */
  readonly ours: Date;
  /** Its `x-amz-bucket-region` header, or null: few services but AWS send it. */
  readonly region: string | null;
}

/** S3 refuses requests that are off by 15 minutes; leases and certificates suffer before that. */
const SKEW_MS_MAX = 15 * 60_000;
const SKEW_MS_SMALL = 30_000;

export function checkSkew({ date, ours }: EndpointAnswer): Result {
  if (date === null) return warn('the service does not tell its time: whether the clock is right cannot be told');
  const skewMs = ours.getTime() - date.getTime();
  const seconds = Math.round(Math.abs(skewMs) / 1000);
  if (Math.abs(skewMs) <= SKEW_MS_SMALL)
    return ok(`this machine and the service agree to within ${Math.max(1, seconds)} s`);
  const message = `the clock of this machine is ${seconds} s ${skewMs > 0 ? 'ahead of' : 'behind'} that of the service`;
  const remedy = 'set the clock, and keep it right with chrony or systemd-timesyncd';
  return Math.abs(skewMs) < SKEW_MS_MAX
    ? warn(message, remedy)
    : fail(`${message}: signed requests are refused`, remedy);
}

export function checkRegion({ region }: EndpointAnswer, configured: string): Result {
  if (region === null) return ok(`requests are signed for ${configured}; the service does not tell the bucket's`);
  if (region === configured) return ok(`the bucket is in ${region}, as configured`);
  return fail(`the bucket is in ${region}, and store.region is ${configured}`, `set store.region to "${region}"`);
}
