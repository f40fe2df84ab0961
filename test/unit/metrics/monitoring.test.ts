/** The dashboard and the alert rules in docs/monitoring/ use only metrics that there are, and Prometheus takes what they ask. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { Registry } from 'prom-client';
import { addProcessMetrics, METRIC_GROUPS } from '../../../src/metrics/metrics.ts';
import { tempDir } from '../../support/temp.ts';
import { requireTools, toolPath } from '../../support/tools.ts';

interface Panel {
  readonly id: number;
  readonly title: string;
  readonly gridPos: { readonly x: number; readonly y: number; readonly w: number; readonly h: number };
  readonly targets?: readonly { readonly expr: string }[];
}

const path = (name: string): string => fileURLToPath(new URL(`../../../docs/monitoring/${name}`, import.meta.url));
const read = (name: string): string => readFileSync(path(name), 'utf8');

const dashboard = JSON.parse(read('grafana-dashboard.json')) as { readonly panels: readonly Panel[] };
const expressions = dashboard.panels.flatMap(({ targets = [] }) => targets.map(({ expr }) => expr));

/** What Prometheus calls them: a histogram has three names, and labels that go with them. */
function knownMetrics(): Map<string, readonly string[] | null> {
  const known = new Map<string, readonly string[] | null>();
  for (const { name, type, labels } of Object.values(METRIC_GROUPS).flat()) {
    // A label of ours that is called as one of Prometheus's own is renamed by it.
    const named = labels.map((label) => (label === 'job' ? 'exported_job' : label));
    const names = type === 'histogram' ? ['_bucket', '_sum', '_count'].map((suffix) => name + suffix) : [name];
    for (const one of names) known.set(one, type === 'histogram' ? [...named, 'le'] : named);
  }
  const registry = new Registry();
  addProcessMetrics(registry);
  for (const { name } of registry.getMetricsAsArray()) known.set(name, null);
  return known;
}

function metricsIn(text: string): string[] {
  return [...new Set(text.match(/\b(?:bucketdisk|nodejs|process)_[a-z0-9_]+/g))];
}

describe('docs/monitoring', () => {
  const known = knownMetrics();

  test('names only metrics that there are', () => {
    for (const name of ['grafana-dashboard.json', 'alerts.yml', 'alerts.test.yml']) {
      const unknown = metricsIn(read(name)).filter((metric) => !known.has(metric));
      assert.deepEqual(unknown, [], name);
    }
    assert.ok(expressions.length > 30);
  });

  test('selects by labels that the metrics have', () => {
    const everywhere = ['job', 'instance'];
    for (const text of [...expressions, read('alerts.yml')]) {
      for (const [, metric = '', selector = ''] of text.matchAll(
        /\b((?:bucketdisk|nodejs|process)_[a-z0-9_]+)\{([^}]*)\}/g,
      )) {
        const labels = known.get(metric) ?? [];
        const used = [...selector.matchAll(/(\w+)\s*(?:=~|!~|!=|=)/g)].map(([, label = '']) => label);
        const strange = used.filter((label) => !everywhere.includes(label) && !labels?.includes(label));
        assert.deepEqual(strange, [], `${metric}{${selector}}`);
      }
    }
  });

  test('has panels that do not lie on each other', () => {
    const taken = new Map<string, string>();
    for (const { title, gridPos } of dashboard.panels) {
      assert.ok(gridPos.x + gridPos.w <= 24, title);
      for (let x = gridPos.x; x < gridPos.x + gridPos.w; x++) {
        for (let y = gridPos.y; y < gridPos.y + gridPos.h; y++) {
          assert.equal(taken.get(`${x} ${y}`), undefined, title);
          taken.set(`${x} ${y}`, title);
        }
      }
    }
    assert.equal(new Set(dashboard.panels.map(({ id }) => id)).size, dashboard.panels.length);
  });

  test('has rules that Prometheus takes, and that tell what they should, when they should', (t) => {
    if (!requireTools(t, ['promtool'])) return;
    for (const args of [
      ['check', 'rules', path('alerts.yml')],
      ['test', 'rules', path('alerts.test.yml')],
    ]) {
      const { status, stdout, stderr } = spawnSync(toolPath('promtool'), args, { encoding: 'utf8' });
      assert.equal(status, 0, stdout + stderr);
    }
  });

  test('asks what Prometheus understands', async (t) => {
    if (!requireTools(t, ['promtool'])) return;
    const rules = expressions.map((expr, index) => {
      const plain = expr.replaceAll('$__rate_interval', '5m').replaceAll('$__range', '1h');
      return `      - record: panel:expression:${index}\n        expr: ${JSON.stringify(plain)}\n`;
    });
    const file = `${await tempDir(t, 'monitoring')}/dashboard.yml`;
    writeFileSync(file, `groups:\n  - name: dashboard\n    rules:\n${rules.join('')}`);
    const args = ['check', 'rules', file];
    const { status, stdout, stderr } = spawnSync(toolPath('promtool'), args, { encoding: 'utf8' });
    assert.equal(status, 0, stdout + stderr);
  });
});
