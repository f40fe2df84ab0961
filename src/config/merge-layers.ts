/** Puts the layers of the configuration on top of each other: which layer decides each setting, and what it says. */
import { resolve } from 'node:path';
import { type Assignment, emptyLayer, type Layer, shownValue } from './assignments.ts';
import { CONFIG_VARIABLE, type Environment, environmentLayer, volumesVariableLayer } from './environment.ts';
import { fileLayer } from './file-layer.ts';
import { flagLayer } from './flag-layer.ts';
import { type Problem, show } from './problems.ts';
import { readBounded } from './read-bounded.ts';

const SECRET_FILE_BYTES_MAX = 2 ** 16;

export interface LayerInput {
  /** The packaged defaults, or null for none. */
  readonly defaultsFile: { readonly path: string; readonly name: string } | null;
  readonly files: readonly string[];
  readonly env: Environment;
  /** `path=value`, in order. */
  readonly set: readonly string[];
  readonly cwd: string;
}

/** A setting with the value that won, and where that came from. */
export interface Decided {
  readonly value: unknown;
  readonly source: string;
}

export interface MergedLayers {
  /** By path; settings that no layer gives are not in it. */
  readonly decided: ReadonlyMap<string, Decided>;
  readonly volumes: readonly string[];
  readonly files: readonly string[];
  readonly problems: readonly Problem[];
}

export function mergeLayers(input: LayerInput): MergedLayers {
  const { defaultsFile, env, cwd } = input;
  const fromVariable = (env[CONFIG_VARIABLE] ?? '').split(':').filter((path) => path !== '');
  const files = [...fromVariable, ...input.files];
  const defaults = defaultsFile === null ? emptyLayer() : fileLayer(defaultsFile.path, defaultsFile.name);
  const flags = flagLayer(input.set);
  const named = [...files.map((path) => fileLayer(resolve(cwd, path), path)), volumesVariableLayer(env)];

  // The packaged volume is there to try things out: it must not turn up in the bucket of somebody who names their own.
  const given = new Set([...named, flags].flatMap((layer) => [...layer.volumes]));
  const ownVolumes = [...given].some((name) => !defaults.volumes.has(name));
  const base = ownVolumes ? withoutVolumes(defaults) : defaults;
  const volumes = [...new Set([...base.volumes, ...given])];

  const layers = [base, ...named, environmentLayer(env, volumes), flags];
  const problems = layers.flatMap((layer) => layer.problems);
  const winners = new Map<string, Assignment>();
  for (const layer of layers) {
    problems.push(...rivalries(layer));
    for (const assignment of layer.assignments) winners.set(assignment.path, assignment);
  }

  const decided = new Map<string, Decided>();
  for (const assignment of winners.values()) {
    try {
      decided.set(assignment.path, { value: settle(assignment, cwd), source: assignment.source });
    } catch (error) {
      problems.push(problemOf(assignment, error));
    }
  }
  return { decided, volumes, files, problems };
}

/** The value of an assignment, read and checked. Throws an Error that says what is expected. */
function settle({ field, form, value }: Assignment, cwd: string): unknown {
  const actual = form === 'file' ? readSecret(value, cwd) : form === 'text' ? readText(field, String(value)) : value;
  if (actual !== null || !field.nullable) field.format(actual);
  return actual;
}

function readText(field: Assignment['field'], text: string): unknown {
  return field.nullable && text === 'null' ? null : field.kind.read(text);
}

function problemOf({ path, field, form, value, source }: Assignment, error: unknown): Problem {
  const message = error instanceof Error ? error.message : String(error);
  if (form === 'file') return { path: `${path}File`, value: show(value), message, source };
  return { path, value: shownValue(field, value), message, source };
}

/** A secret and its file in one layer: neither is above the other. */
function rivalries(layer: Layer): Problem[] {
  const forms = new Map<string, Assignment>();
  const problems: Problem[] = [];
  for (const assignment of layer.assignments) {
    const earlier = forms.get(assignment.path);
    if (earlier !== undefined && (earlier.form === 'file') !== (assignment.form === 'file')) {
      const message = `given itself and as a file (${earlier.source}): keep one of them`;
      problems.push({ path: assignment.path, value: null, message, source: assignment.source });
    }
    forms.set(assignment.path, assignment);
  }
  return problems;
}

/** The content without the line end that editors and `echo` leave. */
function readSecret(path: unknown, cwd: string): string {
  if (typeof path !== 'string' || path === '') throw new Error(`expected the path of a file, not ${show(path)}`);
  return readBounded(resolve(cwd, path), SECRET_FILE_BYTES_MAX).replace(/\r?\n$/, '');
}

function withoutVolumes(layer: Layer): Layer {
  const assignments = layer.assignments.filter(({ path }) => !path.startsWith('volumes.'));
  return { ...layer, assignments, volumes: new Set() };
}
