/** What an operator should hear of: the few lines of the log that are events, and what they are called. */

export type EventLevel = 'info' | 'warn' | 'error';

/** Plain, as JSON has it. */
export type EventFields = Readonly<Record<string, string | number | boolean | null>>;

export interface ApplianceEvent {
  /** ISO 8601. */
  readonly at: string;
  readonly name: EventName;
  readonly level: EventLevel;
  /** Of which volume; null where it is about none in particular. */
  readonly volume: string | null;
  readonly message: string;
  readonly fields: EventFields;
}

/**
 * - `outage-began`, `outage-ended`      the bucket does not answer, or refuses; it answers again
 * - `credentials-refused`               it answers that we may not
 * - `log-filling`, `log-relieved`       a write log is over 80% full; it is below 70% again
 * - `lease-lost`                        another writer has taken the volume
 * - `damage-found`, `scan-done`         what a scan, or opening the cache, came to
 * - `cache-disk-failed`                 flushes cannot be made durable
 * - `job-failed`                        a scheduled job
 * - `report`                            the job of that name
 * - `stopped`                           the appliance, as it was told to
 */
export const EVENT_NAMES = [
  'outage-began',
  'outage-ended',
  'credentials-refused',
  'log-filling',
  'log-relieved',
  'lease-lost',
  'damage-found',
  'scan-done',
  'cache-disk-failed',
  'job-failed',
  'report',
  'stopped',
] as const;

export type EventName = (typeof EVENT_NAMES)[number];

export function isEventName(name: unknown): name is EventName {
  return (EVENT_NAMES as readonly unknown[]).includes(name);
}
