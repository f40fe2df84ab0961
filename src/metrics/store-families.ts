/** What is asked of the buckets, attempt by attempt, over all of them. */
import { LATENCY_BOUNDS_MS, type StoreOperation, type StoreOutcome } from '../object/store-metrics.ts';
import type { Family, Sample } from './family.ts';
import type { Reading } from './sources.ts';
import { billedRequests, storeCost } from './store-cost.ts';

type Operation = Reading['store']['metrics']['operations'][StoreOperation];

const BOUNDS_SECONDS = LATENCY_BOUNDS_MS.map((ms) => ms / 1000);

function operationsOf({ store }: Reading): [StoreOperation, Operation][] {
  return Object.entries(store.metrics.operations) as [StoreOperation, Operation][];
}

function outcomeSamples(reading: Reading, select: (outcome: StoreOutcome) => boolean, label: string): Sample[] {
  return operationsOf(reading).flatMap(([operation, { outcomes }]) =>
    (Object.entries(outcomes) as [StoreOutcome, number][])
      .filter(([outcome]) => select(outcome))
      .map(([outcome, value]) => ({ labels: { operation, [label]: outcome }, value })),
  );
}

export const STORE_FAMILIES: readonly Family<Reading>[] = [
  {
    name: 'bucketdisk_store_requests_total',
    type: 'counter',
    help: 'Requests to the bucket, each attempt counted. result: ok, absent for a key that is not there, or an error code.',
    labels: ['operation', 'result'],
    read: (reading) => outcomeSamples(reading, () => true, 'result'),
  },
  {
    name: 'bucketdisk_store_errors_total',
    type: 'counter',
    help: 'Those of the requests that failed.',
    labels: ['operation', 'code'],
    read: (reading) => outcomeSamples(reading, (outcome) => outcome !== 'ok' && outcome !== 'absent', 'code'),
  },
  {
    name: 'bucketdisk_store_retries_total',
    type: 'counter',
    help: 'Requests that were made because an earlier attempt had failed.',
    labels: [],
    read: ({ store }) => [{ value: store.metrics.retries }],
  },
  {
    name: 'bucketdisk_store_request_duration_seconds',
    type: 'histogram',
    help: 'Time that requests to the bucket took, each attempt by itself, with its body.',
    labels: ['operation'],
    read: (reading) =>
      operationsOf(reading).map(([operation, { latencyCounts, latencySumMs }]) => ({
        labels: { operation },
        bounds: BOUNDS_SECONDS,
        counts: latencyCounts,
        sum: latencySumMs / 1000,
      })),
  },
  {
    name: 'bucketdisk_store_billed_requests_total',
    type: 'counter',
    help: 'Requests as S3 bills them. class: write is PUT and LIST, read is GET and HEAD, free is DELETE.',
    labels: ['class'],
    read: ({ store }) =>
      Object.entries(billedRequests(store.metrics)).map(([name, value]) => ({ labels: { class: name }, value })),
  },
  {
    name: 'bucketdisk_store_cost_total',
    type: 'counter',
    help: 'What that costs at the prices under cost, in cost.currency. class: write, read, and received for what is fetched.',
    labels: ['class'],
    read: ({ store }) =>
      Object.entries(storeCost(store.metrics, store.prices)).map(([name, value]) => ({
        labels: { class: name },
        value,
      })),
  },
  {
    name: 'bucketdisk_store_sent_bytes_total',
    type: 'counter',
    help: 'Bytes of objects stored.',
    labels: [],
    read: ({ store }) => [{ value: store.metrics.bytesUp }],
  },
  {
    name: 'bucketdisk_store_received_bytes_total',
    type: 'counter',
    help: 'Bytes of objects fetched.',
    labels: [],
    read: ({ store }) => [{ value: store.metrics.bytesDown }],
  },
  {
    name: 'bucketdisk_store_requests_in_flight',
    type: 'gauge',
    help: 'Requests to the bucket under way.',
    labels: [],
    read: ({ store }) => [{ value: store.metrics.inFlight }],
  },
  {
    name: 'bucketdisk_store_failing',
    type: 'gauge',
    help: '1 while the bucket does not answer, or refuses what it is asked; else 0.',
    labels: [],
    read: ({ store }) => [{ value: Number(store.health.state === 'failing') }],
  },
  {
    name: 'bucketdisk_store_failing_seconds',
    type: 'gauge',
    help: 'Time since the first of the failures in a row; 0 where the last request was answered.',
    labels: [],
    read: ({ store, now }) => {
      const since = store.health.failingSince;
      return [{ value: since === null ? 0 : Math.max(0, now.getTime() - since.getTime()) / 1000 }];
    },
  },
  {
    name: 'bucketdisk_upload_window_open',
    type: 'gauge',
    help: '0 while upload.windows puts off what can wait, else 1.',
    labels: [],
    read: ({ uploadWindow }) => [{ value: Number(uploadWindow.open) }],
  },
  {
    name: 'bucketdisk_upload_window_bytes_per_second',
    type: 'gauge',
    help: 'The bound that upload.windows sets at present. Absent where there is none.',
    labels: [],
    read: ({ uploadWindow: { rateBytes } }) => (rateBytes === null ? [] : [{ value: rateBytes }]),
  },
];
