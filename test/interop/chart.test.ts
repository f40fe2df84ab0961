/** The Helm chart, rendered by Helm with every file of values in ci/, held against Kubernetes' schemas and against what matters. */
import assert from 'node:assert/strict';
import { readdirSync } from 'node:fs';
import { cp, readFile, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { parse, parseAllDocuments } from 'yaml';
import { findChartTools } from '../support/chart-tools.ts';
import { type CommandResult, runCommand } from '../support/run-command.ts';
import { tempDir } from '../support/temp.ts';
import { CHART, containerOf, mountOf, only, type PodSpec, podOf, render, template } from './support/chart.ts';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const MAIN = join(ROOT, 'src', 'main.ts');
const VALUES = readdirSync(join(CHART, 'ci'));
/** The oldest that the chart is for, and the newest there are schemas of. */
const KUBERNETES = ['1.29', '1.37'];

describe('the chart', () => {
  const requireChart = findChartTools();

  for (const values of VALUES) {
    test(`passes helm lint, and is what Kubernetes takes, with ${values}`, async (t) => {
      const chart = requireChart(t);
      if (chart === null) return;
      const file = join(CHART, 'ci', values);
      await runCommand(chart.helm, ['lint', '--strict', CHART, '-f', file]);
      const { stdout, code, stderr } = await template(chart, values);
      assert.equal(code, 0, stderr);
      const manifests = join(await tempDir(t, 'manifests'), 'all.yaml');
      await writeFile(manifests, stdout);
      const count = parseAllDocuments(stdout).length;
      for (const version of KUBERNETES) {
        const checked: CommandResult = await chart.validate(manifests, version);
        const text: string = checked.stdout + checked.stderr;
        // Those of the Prometheus Operator have no schema in Kubernetes.
        const strange = text.split('\n').filter((line) => /^WARN/.test(line) && !/monitoring\.coreos\.com/.test(line));
        assert.deepEqual(strange, []);
        assert.equal(text.match(/^(INFO|WARN)/gm)?.length, count, text);
      }
    });

    test(`gives the appliance a configuration that it takes, with ${values}`, async (t) => {
      const chart = requireChart(t);
      if (chart === null) return;
      const manifests = await render(chart, values);
      const dir = await tempDir(t, 'chart');
      const file = join(dir, 'bucketdisk.json5');
      await writeFile(file, only(manifests, 'ConfigMap').data['bucketdisk.json5'] ?? '');
      const pod = podOf(manifests);
      const env: Record<string, string> = {};
      // The secrets are files in the pod; here they are in a directory of the test's.
      const secret = join(dir, 'secret');
      await writeFile(secret, 'secret');
      for (const { name, value } of pod?.env ?? []) env[name] = name.endsWith('_FILE') ? secret : value;
      const { stdout } = await runCommand(process.execPath, [MAIN, 'config', 'validate', '--json', '--config', file], {
        env,
        cwd: dir,
      });
      assert.equal((JSON.parse(stdout) as { ok: boolean }).ok, true);
    });
  }

  test('serves unprivileged, with its cache on a claim of its own', async (t) => {
    const chart = requireChart(t);
    if (chart === null) return;
    const manifests = await render(chart, 'server-values.yaml');
    const { spec } = only(manifests, 'StatefulSet');
    const pod = spec.template.spec;
    const container = containerOf(pod.containers, 'bucketdisk');
    assert.equal(spec.replicas, 1, 'a volume has one writer');
    assert.deepEqual(pod.securityContext, {
      runAsNonRoot: true,
      runAsUser: 10809,
      runAsGroup: 10809,
      fsGroup: 10809,
      fsGroupChangePolicy: 'OnRootMismatch',
      seccompProfile: { type: 'RuntimeDefault' },
    });
    assert.deepEqual(container.securityContext, {
      allowPrivilegeEscalation: false,
      readOnlyRootFilesystem: true,
      capabilities: { drop: ['ALL'] },
    });
    assert.deepEqual(mountOf(container, 'bucketdisk-cache'), { name: 'bucketdisk-cache', mountPath: '/cache' });
    const [claim] = spec.volumeClaimTemplates as readonly {
      metadata: { name: string };
      spec: { accessModes: string[] };
    }[];
    assert.deepEqual([claim?.metadata.name, claim?.spec.accessModes], ['bucketdisk-cache', ['ReadWriteOnce']]);
    assert.ok(pod.volumes.every((volume) => !('emptyDir' in volume) && !('hostPath' in volume)));
    // The bucket being away must not have it restarted.
    assert.equal(container.livenessProbe?.httpGet.path, '/healthz');
    assert.equal(container.readinessProbe?.httpGet.path, '/readyz');
    assert.equal(pod.terminationGracePeriodSeconds, 120);
    const policy = only(manifests, 'NetworkPolicy').spec.ingress as readonly { from: unknown }[];
    assert.deepEqual(policy[0]?.from, [{ podSelector: { matchLabels: { 'disks-bucketdisk-client': 'true' } } }]);
  });

  test('mounts before the application starts, and unmounts after it has ended', async (t) => {
    const chart = requireChart(t);
    if (chart === null) return;
    const manifests = await render(chart, 'sidecar-values.yaml');
    const pod = only(manifests, 'Pod').spec as unknown as PodSpec;
    assert.deepEqual(
      pod.initContainers.map(({ name }) => name),
      ['load-modules', 'bucketdisk'],
    );
    const sidecar = containerOf(pod.initContainers, 'bucketdisk');
    const app = containerOf(pod.containers, 'app');
    assert.equal(sidecar.restartPolicy, 'Always', 'a native sidecar');
    assert.deepEqual(sidecar.args, ['mount', 'media', '/drive/media', '--fs', 'xfs']);
    assert.deepEqual(sidecar.startupProbe?.exec, { command: ['bucketdisk', 'health'] });
    assert.equal(Number(sidecar.startupProbe?.failureThreshold) * Number(sidecar.startupProbe?.periodSeconds), 600);
    assert.equal(mountOf(sidecar, 'bucketdisk-drive')?.mountPropagation, 'Bidirectional');
    // What nginx's image serves without being configured.
    const drive = { name: 'bucketdisk-drive', mountPath: '/usr/share/nginx/html' };
    assert.deepEqual(mountOf(app, 'bucketdisk-drive'), { ...drive, mountPropagation: 'HostToContainer' });
    assert.deepEqual(sidecar.securityContext, {
      privileged: true,
      runAsUser: 0,
      runAsGroup: 0,
      runAsNonRoot: false,
      readOnlyRootFilesystem: true,
    });
    const modules = containerOf(pod.initContainers, 'load-modules');
    assert.deepEqual(modules.command, ['modprobe', '--all', 'fuse', 'loop']);
    assert.deepEqual((modules.securityContext as { capabilities: unknown }).capabilities, {
      drop: ['ALL'],
      add: ['SYS_MODULE'],
    });
    // Nothing takes the drive from under the application while that still ends.
    for (const container of [...pod.initContainers, ...pod.containers]) assert.equal(container.lifecycle, undefined);
    assert.equal(pod.terminationGracePeriodSeconds, 60 + 60 + 45);
    const claim = only(manifests, 'PersistentVolumeClaim').metadata;
    assert.equal(claim.annotations?.['helm.sh/resource-policy'], 'keep');
    const volume = (name: string) => pod.volumes.find((one) => one.name === name);
    assert.deepEqual(volume('bucketdisk-cache')?.persistentVolumeClaim, { claimName: claim.name });
    assert.deepEqual(volume('bucketdisk-drive')?.hostPath, {
      path: '/var/lib/bucketdisk/storage/disks-bucketdisk',
      type: 'DirectoryOrCreate',
    });
    assert.ok(pod.volumes.every((one) => !('emptyDir' in one)));
  });

  test('refuses values that cannot be meant', async (t) => {
    const chart = requireChart(t);
    if (chart === null) return;
    const refused = async (pattern: RegExp, values: string, ...args: string[]): Promise<void> => {
      const { code, stderr } = await template(chart, values, ...args);
      assert.notEqual(code, 0);
      assert.match(stderr, pattern);
    };
    await refused(/store\.url is not set/, 'server-values.yaml', '--set', 'store.url=');
    await refused(/store.*url|url.*pattern/is, 'server-values.yaml', '--set', 'store.url=http://disks');
    await refused(/mode/, 'server-values.yaml', '--set', 'mode=daemonset');
    await refused(/replicas/, 'server-values.yaml', '--set', 'replicas=2');
    await refused(/none of volumes/, 'sidecar-values.yaml', '--set', 'sidecar.volume=other');
    await refused(/must be at least 105/, 'sidecar-values.yaml', '--set', 'terminationGracePeriodSeconds=60');
  });

  test('has the alerts and the dashboard of docs/monitoring', async (t) => {
    for (const name of ['alerts.yml', 'grafana-dashboard.json']) {
      const original = await readFile(join(ROOT, 'docs', 'monitoring', name), 'utf8');
      assert.equal(await readFile(join(CHART, 'files', name), 'utf8'), original, `copy docs/monitoring/${name}`);
    }
    const chart = requireChart(t);
    if (chart === null) return;
    const manifests = await render(chart, 'server-full-values.yaml');
    const rules: unknown = parse(await readFile(join(CHART, 'files', 'alerts.yml'), 'utf8'));
    assert.deepEqual(only(manifests, 'PrometheusRule').spec, rules);
    assert.equal(only(manifests, 'ServiceMonitor').spec.jobLabel, 'app.kubernetes.io/name');
    const dashboard = manifests.find(({ metadata }) => metadata.name.endsWith('-dashboard'));
    assert.deepEqual(
      JSON.parse(dashboard?.data['bucketdisk.json'] ?? ''),
      JSON.parse(await readFile(join(CHART, 'files', 'grafana-dashboard.json'), 'utf8')),
    );
  });

  test('says in its notes where the volumes are, and that NBD is open without TLS', async (t) => {
    const chart = requireChart(t);
    if (chart === null) return;
    // Helm shows them on installing only, which takes a cluster: here they are the data of a manifest.
    const copy = join(await tempDir(t, 'notes'), 'bucketdisk');
    await cp(CHART, copy, { recursive: true });
    await rename(join(copy, 'templates', 'NOTES.txt'), join(copy, 'NOTES.tpl'));
    const manifest = { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'notes' }, data: { notes: 'NOTES' } };
    const text = JSON.stringify(manifest).replace('"NOTES"', '{{ tpl (.Files.Get "NOTES.tpl") . | quote }}');
    await writeFile(join(copy, 'templates', 'notes.yaml'), text);
    const notes = async (values: string): Promise<string> => {
      const args = ['template', 'disks', copy, '-n', 'storage', '-f', join(CHART, 'ci', values)];
      const { stdout } = await runCommand(chart.helm, [...args, '--show-only', 'templates/notes.yaml']);
      return (parse(stdout) as { data: { notes: string } }).data.notes;
    };
    assert.match(
      await notes('server-values.yaml'),
      /media over NBD at disks-bucketdisk\.storage\.svc:10809.*not encrypted/s,
    );
    assert.doesNotMatch(await notes('server-full-values.yaml'), /not encrypted/);
    assert.match(
      await notes('sidecar-values.yaml'),
      /mounted beside the application, which finds it at \/usr\/share\/nginx\/html\/media.*port-forward pod\/disks-bucketdisk 8080:80$/ms,
    );
  });

  test('is a version with this package', async () => {
    const { appVersion } = parse(await readFile(join(CHART, 'Chart.yaml'), 'utf8')) as { appVersion: string };
    const { version } = JSON.parse(await readFile(join(ROOT, 'package.json'), 'utf8')) as { version: string };
    assert.equal(appVersion, version);
  });
});
