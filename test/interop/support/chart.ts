/** The chart as Helm renders it, and what is looked at of it. */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseAllDocuments } from 'yaml';
import type { ChartTools } from '../../support/chart-tools.ts';
import { type CommandResult, runCommand } from '../../support/run-command.ts';

export const CHART = fileURLToPath(new URL('../../../charts/bucketdisk', import.meta.url));

export interface Manifest {
  readonly kind: string;
  readonly metadata: Metadata & { readonly name: string };
  readonly spec: Spec;
  readonly data: Readonly<Record<string, string>>;
}

interface Metadata {
  readonly labels?: Readonly<Record<string, string>>;
  readonly annotations?: Readonly<Record<string, string>>;
}

/** What is looked at of any of them. */
type Spec = Readonly<Record<string, unknown>> & {
  readonly template: { readonly metadata: Metadata; readonly spec: PodSpec };
};

export interface PodSpec {
  readonly terminationGracePeriodSeconds: number;
  readonly securityContext: unknown;
  readonly initContainers: readonly ContainerSpec[];
  readonly containers: readonly ContainerSpec[];
  readonly volumes: readonly Readonly<Record<string, unknown>>[];
}

export interface ContainerSpec {
  readonly name: string;
  readonly args?: readonly string[];
  readonly command?: readonly string[];
  readonly restartPolicy?: string;
  readonly securityContext: unknown;
  readonly lifecycle?: unknown;
  readonly startupProbe?: Readonly<Record<string, unknown>>;
  readonly livenessProbe?: { readonly httpGet: { readonly path: string } };
  readonly readinessProbe?: { readonly httpGet: { readonly path: string } };
  readonly volumeMounts: readonly {
    readonly name: string;
    readonly mountPath: string;
    readonly mountPropagation?: string;
    readonly readOnly?: boolean;
  }[];
  readonly ports: readonly { readonly name: string; readonly containerPort: number }[];
  readonly env: readonly { readonly name: string; readonly value: string }[];
}

/** What `helm template` says to a file of `ci/`, whatever it says. */
export function template({ helm }: ChartTools, values: string, ...args: string[]): Promise<CommandResult> {
  const file = join(CHART, 'ci', values);
  return runCommand(helm, ['template', 'disks', CHART, '-n', 'storage', '-f', file, ...args], { okCodes: null });
}

export async function render(chart: ChartTools, values: string, ...args: string[]): Promise<Manifest[]> {
  const { code, stdout, stderr } = await template(chart, values, ...args);
  assert.equal(code, 0, stderr);
  return manifestsOf(stdout);
}

export function manifestsOf(text: string): Manifest[] {
  return parseAllDocuments(text).map((document) => {
    assert.deepEqual(document.errors, []);
    return document.toJS() as Manifest;
  });
}

export function only(manifests: readonly Manifest[], kind: string): Manifest {
  const found = manifests.filter(
    (manifest) => manifest.kind === kind && !/-(test|dashboard)$/.test(manifest.metadata.name),
  );
  assert.equal(found.length, 1, `${found.length} of ${kind}`);
  return found[0] as Manifest;
}

export function containerOf(containers: readonly ContainerSpec[], name: string): ContainerSpec {
  const found = containers.find((container) => container.name === name);
  assert.ok(found, `no container ${name}`);
  return found;
}

export function mountOf(container: ContainerSpec, name: string): ContainerSpec['volumeMounts'][number] | undefined {
  return container.volumeMounts.find((mount) => mount.name === name);
}

/** The appliance's container, where the values bring one. */
export function podOf(manifests: readonly Manifest[]): ContainerSpec | undefined {
  const pods = manifests.flatMap((manifest) => {
    if (manifest.kind === 'StatefulSet') return [manifest.spec.template.spec];
    return manifest.kind === 'Pod' ? [manifest.spec as unknown as PodSpec] : [];
  });
  return pods
    .flatMap((pod) => [...(pod.initContainers ?? []), ...pod.containers])
    .find(({ name }) => name === 'bucketdisk');
}
