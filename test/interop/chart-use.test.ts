/** The chart in use: its objects find each other, its test does test, and other charts can have the sidecar. */
import assert from 'node:assert/strict';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { startAppliance } from '../support/appliance.ts';
import { findChartTools } from '../support/chart-tools.ts';
import { runCommand } from '../support/run-command.ts';
import { tempDir } from '../support/temp.ts';
import {
  CHART,
  containerOf,
  type Manifest,
  manifestsOf,
  mountOf,
  only,
  type PodSpec,
  podOf,
  render,
} from './support/chart.ts';

const DEPLOY = fileURLToPath(new URL('../../docs/DEPLOY.md', import.meta.url));

interface Selecting {
  readonly selector: { readonly matchLabels: Readonly<Record<string, string>> };
}

/** The labels by which the appliance's pod is found. */
function podLabels(manifests: readonly Manifest[]): Readonly<Record<string, string>> {
  const set = manifests.find(({ kind }) => kind === 'StatefulSet');
  return (set?.spec.template.metadata ?? only(manifests, 'Pod').metadata).labels ?? {};
}

function assertFinds(selector: unknown, labels: Readonly<Record<string, string>>): void {
  const wanted = Object.entries(selector as Readonly<Record<string, string>>);
  assert.ok(wanted.length >= 2);
  for (const [name, value] of wanted) assert.equal(labels[name], value, name);
}

describe('the chart in use', () => {
  const requireChart = findChartTools();

  for (const values of ['server-full-values.yaml', 'sidecar-values.yaml']) {
    test(`has a Service, a ServiceMonitor and policies that find the pod, with ${values}`, async (t) => {
      const chart = requireChart(t);
      if (chart === null) return;
      const manifests = await render(chart, values);
      const labels = podLabels(manifests);
      const names = ['app', 'bucketdisk'].flatMap((name) =>
        containersOf(manifests)
          .filter((container) => container.name === name)
          .flatMap(({ ports }) => ports.map((port) => port.name)),
      );
      const service = only(manifests, 'Service');
      const ports = service.spec.ports as readonly { name: string; targetPort: string }[];
      assertFinds(service.spec.selector, labels);
      for (const { targetPort } of ports) assert.ok(names.includes(targetPort), targetPort);
      const { selector, jobLabel, endpoints } = only(manifests, 'ServiceMonitor').spec as unknown as Selecting & {
        readonly jobLabel: string;
        readonly endpoints: readonly { readonly port: string; readonly path: string }[];
      };
      assertFinds(selector.matchLabels, service.metadata.labels ?? {});
      assert.equal(service.metadata.labels?.[jobLabel], 'bucketdisk', 'the job that the alerts know');
      assert.deepEqual(endpoints.map(({ port, path }) => [port, path]), [['admin', '/metrics']]); // biome-ignore format: one line
      assert.ok(ports.some(({ name }) => name === 'admin'));
      if (values !== 'server-full-values.yaml') return;

      const budget = only(manifests, 'PodDisruptionBudget').spec;
      assert.equal(budget.maxUnavailable, 0);
      assertFinds((budget.selector as Selecting['selector']).matchLabels, labels);
      const policy = only(manifests, 'NetworkPolicy').spec as unknown as {
        readonly podSelector: Selecting['selector'];
        readonly policyTypes: readonly string[];
        readonly ingress: readonly { readonly ports: readonly { readonly port: string }[]; readonly from: unknown }[];
      };
      assertFinds(policy.podSelector.matchLabels, labels);
      assert.deepEqual(policy.policyTypes, ['Ingress']);
      assert.deepEqual(policy.ingress.map((rule) => [rule.ports[0]?.port, rule.from]), [
        ['nbd', [{ ipBlock: { cidr: '10.1.0.0/16' } }]],
        ['admin', [{ namespaceSelector: { matchLabels: { 'kubernetes.io/metadata.name': 'monitoring' } } }]],
      ]); // biome-ignore format: pairs
    });
  }

  test('has secrets as files of the Secrets that are named, and in no variable and no ConfigMap', async (t) => {
    const chart = requireChart(t);
    if (chart === null) return;
    const manifests = await render(chart, 'server-full-values.yaml');
    assert.equal(manifests.filter(({ kind }) => kind === 'Secret').length, 0);
    const { spec } = only(manifests, 'StatefulSet').spec.template;
    const container = containerOf(spec.containers, 'bucketdisk');
    const secrets = spec.volumes.filter((volume) => 'secret' in volume) as unknown as {
      name: string;
      secret: { secretName: string };
    }[];
    assert.deepEqual(
      secrets.map(({ secret }) => secret.secretName),
      ['disks-credentials', 'vault', 'disks-tls'],
    );
    const variables = new Map(container.env.map(({ name, value }) => [name, value]));
    const paths = ['STORE_ACCESS_KEY_ID', 'STORE_SECRET_ACCESS_KEY', 'VOLUMES_VAULT_2_PASSWORD'].map(
      (name) => variables.get(`BUCKETDISK_${name}_FILE`) ?? '',
    );
    for (const { name } of secrets) {
      const mount = mountOf(container, name);
      assert.equal(mount?.readOnly, true);
      if (name !== 'bucketdisk-tls')
        assert.ok(
          paths.some((path) => path.startsWith(`${mount?.mountPath}/`)),
          name,
        );
    }
  });

  test('has the volumes that are named, and its own example only as long as it is wanted', async (t) => {
    const chart = requireChart(t);
    if (chart === null) return;
    const volumes = async (...values: string[]): Promise<string[]> => {
      const args = values.flatMap((value) => ['--set', `volumes.${value}`]);
      const manifests = await render(chart, 'server-values.yaml', ...args);
      const config = only(manifests, 'ConfigMap').data['bucketdisk.json5'] ?? '';
      return Object.keys((JSON.parse(config) as { volumes: object }).volumes).sort();
    };
    assert.deepEqual(await volumes(), ['media']);
    assert.deepEqual(await volumes('films.size=1TiB'), ['films', 'media']);
    assert.deepEqual(await volumes('films.size=1TiB', 'media=null'), ['films']);
  });

  test('has alerts about the job that the metrics have, also under another name', async (t) => {
    const chart = requireChart(t);
    if (chart === null) return;
    const manifests = await render(chart, 'server-full-values.yaml', '--set', 'nameOverride=films');
    assert.equal(only(manifests, 'Service').metadata.labels?.['app.kubernetes.io/name'], 'films');
    const rules = JSON.stringify(only(manifests, 'PrometheusRule').spec);
    assert.match(rules, /up\{job=\\"films\\"\}/);
    assert.doesNotMatch(rules, /job=\\"bucketdisk\\"/);
  });

  test('has a test that passes where the appliance is ready, and not where it is gone', async (t) => {
    const chart = requireChart(t);
    if (chart === null) return;
    const manifests = await render(chart, 'server-values.yaml');
    const pod = manifests.find(({ metadata }) => metadata.name.endsWith('-test'));
    assert.equal(pod?.metadata.annotations?.['helm.sh/hook'], 'test');
    assert.equal(pod?.metadata.labels?.['disks-bucketdisk-client'], 'true', 'the policy lets it in');
    const [node, flag, script = ''] = (pod?.spec as unknown as PodSpec | undefined)?.containers[0]?.command ?? [];
    assert.deepEqual([node, flag], ['node', '--eval']);

    const config = {
      store: { url: 'file:bucket' },
      volumes: { disk: { size: '4MiB' } },
      admin: { listen: '127.0.0.1:0' },
    };
    const appliance = await startAppliance({ lifetime: t, config });
    const admin = String((await appliance.waitForEvent('admin')).url);
    const here = script
      .replace('http://disks-bucketdisk.storage.svc:9310', admin)
      .replace("connect(10809, 'disks-bucketdisk.storage.svc')", `connect(${appliance.tcp.port}, '127.0.0.1')`);
    assert.doesNotMatch(here, /storage\.svc/);
    const { stdout } = await runCommand(process.execPath, ['--eval', here]);
    assert.equal(stdout, '200 ok\n\nNBD greets with NBDMAGIC\n');
    await appliance.stop();
    assert.notEqual((await runCommand(process.execPath, ['--eval', here], { okCodes: null })).code, 0);
  });

  test('gives its sidecar to another chart, as docs/DEPLOY.md says', async (t) => {
    const chart = requireChart(t);
    if (chart === null) return;
    const examples = [...(await readFile(DEPLOY, 'utf8')).matchAll(/^```yaml\n(.*?)^```$/gms)].map(([, text]) => text);
    const [dependencies = '', values = '', template = ''] = ['dependencies:\n', 'bucketdisk:\n', '{{- $disk'].map(
      (start) => examples.find((text) => text?.startsWith(start)),
    );
    const chartFile = `apiVersion: v2\nname: films\nversion: 1.0.0\n${dependencies.replace('file://../bucketdisk', `file://${CHART}`)}`;
    assert.match(chartFile, /file:\/\/\//);
    const dir = await tempDir(t, 'parent');
    await mkdir(join(dir, 'templates'));
    await writeFile(join(dir, 'Chart.yaml'), chartFile);
    await writeFile(join(dir, 'values.yaml'), values);
    await writeFile(join(dir, 'templates', 'pod.yaml'), template);
    await runCommand(chart.helm, ['dependency', 'update', '--skip-refresh', dir]);
    await runCommand(chart.helm, ['lint', '--strict', dir]);
    const { stdout } = await runCommand(chart.helm, ['template', 'evening', dir, '-n', 'storage']);
    const file = join(dir, 'all.yaml');
    await writeFile(file, stdout);
    await chart.validate(file, '1.29');

    const manifests = manifestsOf(stdout);
    const pod = only(manifests, 'Pod').spec as unknown as PodSpec;
    const sidecar = containerOf(pod.initContainers, 'bucketdisk');
    assert.equal(sidecar.restartPolicy, 'Always');
    assert.deepEqual(sidecar.args, ['mount', 'media', '/drive/media', '--fs', 'ext4']);
    assert.equal(mountOf(sidecar, 'bucketdisk-drive')?.mountPropagation, 'Bidirectional');
    assert.equal(mountOf(containerOf(pod.containers, 'app'), 'bucketdisk-drive')?.mountPropagation, 'HostToContainer');
    assert.equal(pod.terminationGracePeriodSeconds, 60 + 60 + 30);
    const named = (kind: string): string => only(manifests, kind).metadata.name;
    const volume = (name: string) => pod.volumes.find((one) => one.name === name);
    assert.deepEqual(volume('bucketdisk-cache')?.persistentVolumeClaim, { claimName: named('PersistentVolumeClaim') });
    assert.deepEqual(volume('bucketdisk-config')?.configMap, { name: named('ConfigMap') });
    assertFinds(only(manifests, 'Service').spec.selector, podLabels(manifests));
  });
});

function containersOf(manifests: readonly Manifest[]): PodSpec['containers'] {
  const appliance = podOf(manifests);
  assert.ok(appliance !== undefined);
  const pod = manifests.find(({ kind, metadata }) => kind === 'Pod' && !metadata.name.endsWith('-test'));
  return [appliance, ...((pod?.spec as unknown as PodSpec | undefined)?.containers ?? [])];
}
