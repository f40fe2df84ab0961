/** The reference of all metrics, made from the registry: docs/METRICS.md. */
import { Registry } from 'prom-client';
import { addProcessMetrics, METRIC_GROUPS } from './metrics.ts';

interface Entry {
  readonly name: string;
  readonly type: string;
  readonly labels: readonly string[];
  readonly help: string;
}

/** The whole page, in Markdown. A test holds the file in docs/ against it. */
export function metricsReference(): string {
  const parts = [INTRODUCTION];
  for (const [title, families] of Object.entries(METRIC_GROUPS)) parts.push(`## ${title}`, table(families));
  parts.push('## The process', PROCESS, table(processEntries()));
  return `${parts.join('\n\n')}\n`;
}

function table(entries: readonly Entry[]): string {
  const rows = entries.map(({ name, type, labels, help }) => {
    const labelled = labels.map((label) => `\`${label}\``).join(', ');
    return `| \`${name}\` | ${type} | ${labelled} | ${help.replaceAll('|', '\\|')} |`;
  });
  return ['| metric | type | labels | meaning |', '|---|---|---|---|', ...rows].join('\n');
}

function processEntries(): Entry[] {
  const registry = new Registry();
  addProcessMetrics(registry);
  // What they are labelled with is theirs, and said in none of prom-client's descriptions.
  return registry.getMetricsAsArray().map(({ name, type, help }) => ({ name, type: String(type), labels: [], help }));
}

const INTRODUCTION = `# Metrics

<!-- Generated from src/metrics/ by \`node src/metrics/write-reference.ts\`. Do not edit. -->

Where \`admin.listen\` is set, an HTTP server answers there. The configuration that comes with the package sets 127.0.0.1:9310.

| path | answer |
|---|---|
| \`/\` | the status page: see [STATUS-PAGE.md](STATUS-PAGE.md) |
| \`/metrics\` | the metrics below, in Prometheus's text format, from memory |
| \`/healthz\` | 200 while the process answers, whatever the bucket does |
| \`/readyz\` | 200 while every configured volume is served, and \`fuse.dir\` and what \`mount\` has mounted are where they were put; else 503, and a line for each that is not |

\`bucketdisk health\` tells the same as \`/readyz\` over the control socket, and ends with 0 or 1.

There is no password: bind it to 127.0.0.1, or to a network where everybody may see the names of the volumes. A request must be made to an
address, \`localhost\`, the machine's own name or one of \`admin.hosts\`; others are answered with 421.

\`\`\`yaml
scrape_configs:
  - job_name: bucketdisk
    static_configs: [{ targets: ['127.0.0.1:9310'] }]
\`\`\`

[monitoring/grafana-dashboard.json](monitoring/grafana-dashboard.json) is a dashboard to be imported into Grafana, and
[monitoring/alerts.yml](monitoring/alerts.yml) has rules for alerts, which take the job to be called \`bucketdisk\` as above:

\`\`\`yaml
rule_files: [/etc/prometheus/bucketdisk-alerts.yml]
\`\`\`

Counters begin at 0 with the process. Some expressions to begin with:

- data at risk: \`bucketdisk_dirty_bytes\`, and \`bucketdisk_oldest_dirty_age_seconds\` for its age;
- how full the log is: \`bucketdisk_log_used_bytes / bucketdisk_log_size_bytes\`;
- hit ratio: \`rate(bucketdisk_cache_hit_bytes_total[5m]) / (rate(bucketdisk_cache_hit_bytes_total[5m]) + rate(bucketdisk_cache_miss_bytes_total[5m]))\`;
- reads below which 99 of 100 are: \`histogram_quantile(0.99, sum by (le, volume) (rate(bucketdisk_nbd_request_duration_seconds_bucket{command="read"}[5m])))\`;
- cost in a month, at the prices under \`cost\`: \`2592000 * sum(rate(bucketdisk_store_cost_total[1d]))\`.`;

const PROCESS =
  "As prom-client tells them. `nodejs_eventloop_lag_seconds` and those after it are the event loop's lag.";
