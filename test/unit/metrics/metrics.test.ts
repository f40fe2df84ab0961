/** What /metrics says of a reading, in a shape that Prometheus takes, and docs/METRICS.md beside it. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { describe, test } from 'node:test';
import { METRIC_GROUPS, Metrics } from '../../../src/metrics/metrics.ts';
import { metricsReference } from '../../../src/metrics/reference.ts';
import { requireTools, toolPath } from '../../support/tools.ts';
import { reading } from './readings.ts';

const families = Object.values(METRIC_GROUPS).flat();

/** Every sample line as it stands, with its value. */
async function samples(): Promise<Map<string, number>> {
  const text = await new Metrics(reading).text();
  const lines = text.split('\n').filter((line) => line !== '' && !line.startsWith('#'));
  return new Map(
    lines.map((line) => {
      const at = line.lastIndexOf(' ');
      return [line.slice(0, at), Number(line.slice(at + 1))];
    }),
  );
}

describe('the text', () => {
  test('has every number of the reading, in base units', async () => {
    const told = await samples();
    const expected: Record<string, number> = {
      [`bucketdisk_build_info{version="1.2.3",node="${process.version}"}`]: 1,
      bucketdisk_ready: 0,
      'bucketdisk_volume_serving{volume="media"}': 1,
      'bucketdisk_volume_serving{volume="opening"}': 0,
      'bucketdisk_volume_size_bytes{volume="media"}': 2 ** 40,
      'bucketdisk_lease_age_seconds{volume="media"}': 4,
      'bucketdisk_dirty_bytes{volume="media"}': 12_288,
      'bucketdisk_oldest_dirty_age_seconds{volume="media"}': 1.5,
      'bucketdisk_log_failing{volume="media"}': 1,
      'bucketdisk_damaged_bytes{volume="media"}': 12_288,
      'bucketdisk_uploaded_bytes_total{volume="media"}': 70_000,
      'bucketdisk_upload_failing_seconds{volume="media"}': 2.5,
      'bucketdisk_cache_hit_bytes_total{volume="media"}': 409_600,
      'bucketdisk_cache_miss_bytes_total{volume="media"}': 102_400,
      'bucketdisk_nbd_requests_total{volume="media",command="read",result="ok"}': 1,
      'bucketdisk_nbd_requests_total{volume="media",command="write",result="ENOSPC"}': 1,
      'bucketdisk_nbd_request_bytes_total{volume="media",command="read"}': 4096,
      'bucketdisk_nbd_request_duration_seconds_count{volume="media",command="read"}': 1,
      'bucketdisk_nbd_request_duration_seconds_bucket{volume="media",command="read",le="+Inf"}': 1,
      'bucketdisk_nbd_attached_clients{volume="media"}': 1,
      'bucketdisk_nbd_attached_clients{volume="opening"}': 0,
      bucketdisk_nbd_connections_accepted_total: 5,
      bucketdisk_nbd_connections_refused_total: 1,
      bucketdisk_fuse_requests_total: 10,
      'bucketdisk_fuse_file_requests_total{volume="media",command="write",result="ok"}': 1,
      'bucketdisk_fuse_file_requests_total{volume="media",command="read",result="EIO"}': 1,
      'bucketdisk_fuse_file_bytes_total{volume="media",command="write"}': 8192,
      'bucketdisk_fuse_request_duration_seconds_count{volume="media",command="write"}': 1,
      'bucketdisk_store_cost_total{class="write"}': 0.0015,
      'bucketdisk_store_cost_total{class="read"}': 0.0005,
      'bucketdisk_store_requests_total{operation="get",result="absent"}': 1,
      'bucketdisk_store_errors_total{operation="put",code="TIMEOUT"}': 1,
      bucketdisk_store_retries_total: 1,
      'bucketdisk_store_billed_requests_total{class="write"}': 3,
      'bucketdisk_store_billed_requests_total{class="read"}': 2,
      'bucketdisk_store_billed_requests_total{class="free"}': 1,
      bucketdisk_store_sent_bytes_total: 1000,
      bucketdisk_store_received_bytes_total: 2000,
      bucketdisk_store_failing: 1,
      bucketdisk_store_failing_seconds: 60,
      'bucketdisk_job_runs_total{job="flush",result="failed"}': 1,
      'bucketdisk_job_last_success_timestamp_seconds{job="flush"}': Date.parse('2026-01-02T03:04:05Z') / 1000,
    };
    for (const [name, value] of Object.entries(expected)) assert.equal(told.get(name), value, name);
    // What succeeds is no error, and what is not known is not told as 0.
    assert.ok(!told.has('bucketdisk_store_errors_total{operation="get",code="absent"}'));
    assert.ok(!told.has('bucketdisk_volume_size_bytes{volume="opening"}'));
    assert.ok(!told.has('bucketdisk_dirty_bytes{volume="opening"}'));
    assert.ok(!told.has('bucketdisk_nbd_request_bytes_total{volume="media",command="flush"}'));
  });

  test('has histograms that are cumulative, and whose slowest are above every bound', async () => {
    const told = await samples();
    const put = (le: string) =>
      told.get(`bucketdisk_store_request_duration_seconds_bucket{operation="put",le="${le}"}`);
    assert.deepEqual([put('0.02'), put('0.05'), put('30'), put('+Inf')], [0, 1, 1, 2]);
    assert.equal(told.get('bucketdisk_store_request_duration_seconds_sum{operation="put"}'), 45.03);
  });

  test('has the process and the lag of the event loop', async () => {
    const told = await samples();
    assert.ok((told.get('process_resident_memory_bytes') ?? 0) > 1_000_000);
    assert.ok(told.has('nodejs_eventloop_lag_p99_seconds'));
  });

  test('asks for one reading each time', async () => {
    let readings = 0;
    const metrics = new Metrics(() => {
      readings++;
      return reading();
    });
    await metrics.text();
    assert.equal(readings, 1);
    await metrics.text();
    assert.equal(readings, 2);
  });

  test('is what promtool takes, without a complaint', async (t) => {
    if (!requireTools(t, ['promtool'])) return;
    const input = await new Metrics(reading).text();
    const { status, stdout, stderr } = spawnSync(toolPath('promtool'), ['check', 'metrics'], {
      input,
      encoding: 'utf8',
    });
    assert.deepEqual({ status, stdout, stderr }, { status: 0, stdout: '', stderr: '' });
  });
});

describe('the names', () => {
  test('say the unit and the kind, and the labels are those described', () => {
    const names = new Set<string>();
    for (const family of families) {
      assert.match(family.name, /^bucketdisk_[a-z][a-z_]*$/);
      assert.equal(family.name.endsWith('_total'), family.type === 'counter', family.name);
      assert.ok(!names.has(family.name), family.name);
      names.add(family.name);
      const read = family.read(reading());
      assert.ok(read.length > 0, `${family.name} is not in the reading of this test`);
      for (const { labels = {} } of read) assert.deepEqual(Object.keys(labels), family.labels, family.name);
    }
  });
});

describe('docs/METRICS.md', () => {
  test('is up to date: npm run docs', () => {
    const written = readFileSync(new URL('../../../docs/METRICS.md', import.meta.url), 'utf8');
    assert.equal(written, metricsReference());
  });
});
