/** What each layer of the configuration says, setting by setting, before the layers are put on top of each other. */
import JSON5 from 'json5';
import { MASKED, type Problem, show } from './problems.ts';
import { type Field, isField, ROOT_SCHEMA, type Section, VOLUME_SCHEMA } from './schema.ts';
import { didYouMean } from './suggest.ts';

export const VOLUME_NAME = /^[a-z0-9][a-z0-9-]{0,62}$/;

/** One layer giving one setting a value. */
export interface Assignment {
  /** `store.url`, `volumes.media.size`. */
  readonly path: string;
  readonly field: Field<unknown>;
  /** `text`: as the environment and flags have it, not yet read. `file`: the path of a file that holds the secret. */
  readonly form: 'value' | 'text' | 'file';
  readonly value: unknown;
  readonly source: string;
}

/** One file, the environment, or the flags. */
export interface Layer {
  readonly assignments: Assignment[];
  /** Names of volumes that the layer gives, also where it sets nothing of them. */
  readonly volumes: Set<string>;
  readonly problems: Problem[];
}

export function emptyLayer(): Layer {
  return { assignments: [], volumes: new Set(), problems: [] };
}

/** What a path of a configuration leads to. */
export type Target =
  | { readonly kind: 'field'; readonly field: Field<unknown>; readonly path: string; readonly viaFile: boolean }
  | { readonly kind: 'section'; readonly section: Section; readonly path: string }
  | { readonly kind: 'volumes' };

/** The whole configuration. */
export const ROOT: Target = { kind: 'section', section: ROOT_SCHEMA, path: '' };

/** Takes over a parsed file, or any part of a configuration; `sourceOf` tells where the value of a path came from. */
export function assignValue(layer: Layer, target: Target, value: unknown, sourceOf: (path: string) => string): void {
  if (target.kind === 'field') {
    const { field, path, viaFile } = target;
    const source = sourceOf(viaFile ? `${path}File` : path);
    layer.assignments.push({ path, field, form: viaFile ? 'file' : 'value', value, source });
    return;
  }
  const path = target.kind === 'volumes' ? 'volumes' : target.path;
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    const message = `expected an object { ... }, not ${Array.isArray(value) ? 'a list' : value === null ? 'null' : `a ${typeof value}`}`;
    layer.problems.push({ path: path || 'the file', value: null, message, source: sourceOf(path) });
    return;
  }
  const volume = target.kind === 'section' ? /^volumes\.([^.]+)$/.exec(target.path)?.[1] : undefined;
  if (volume !== undefined) layer.volumes.add(volume);
  for (const [key, child] of Object.entries(value)) {
    const childPath = join(path, key);
    const next = step(target, key);
    if (typeof next === 'string') {
      layer.problems.push({ path: childPath, value: null, message: next, source: sourceOf(childPath) });
    } else {
      assignValue(layer, next, child, sourceOf);
    }
  }
}

/** Takes over a text given for one path: a field's own spelling, or JSON5 for a section. */
export function assignText(layer: Layer, target: Target, text: string, source: string): void {
  if (target.kind === 'field') {
    const { field, path, viaFile } = target;
    const volume = /^volumes\.([^.]+)\./.exec(path)?.[1];
    if (volume !== undefined) layer.volumes.add(volume);
    layer.assignments.push({ path, field, form: viaFile ? 'file' : 'text', value: text, source });
    return;
  }
  try {
    assignValue(layer, target, JSON5.parse(text), () => source);
  } catch (error) {
    const message = `expected an object in JSON5: ${error instanceof Error ? error.message.replace(/^JSON5: /, '') : error}`;
    const path = target.kind === 'volumes' ? 'volumes' : target.path;
    layer.problems.push({ path, value: null, message, source });
  }
}

/** Where `path` leads, or why it leads nowhere. */
export function findTarget(path: string): Target | string {
  let target = ROOT;
  for (const key of path.split('.')) {
    const next = step(target, key);
    if (typeof next === 'string') return next;
    target = next;
  }
  return target;
}

function step(target: Target, key: string): Target | string {
  if (target.kind === 'field') return 'this setting has no parts';
  if (target.kind === 'volumes') {
    if (VOLUME_NAME.test(key)) return { kind: 'section', section: VOLUME_SCHEMA, path: `volumes.${key}` };
    return 'not a volume name: expected 1 to 63 of a-z, 0-9 and -, not beginning with -';
  }
  if (target.path === '' && key === 'volumes') return { kind: 'volumes' };

  const node = Object.hasOwn(target.section, key) ? target.section[key] : undefined;
  const path = join(target.path, key);
  if (node !== undefined) {
    return isField(node)
      ? { kind: 'field', field: node, path, viaFile: false }
      : { kind: 'section', section: node, path };
  }
  const secret = key.endsWith('File') ? key.slice(0, -'File'.length) : '';
  const twin = Object.hasOwn(target.section, secret) ? target.section[secret] : undefined;
  if (twin !== undefined && isField(twin) && twin.sensitive) {
    return { kind: 'field', field: twin, path: join(target.path, secret), viaFile: true };
  }
  return `unknown setting${didYouMean(key, knownKeys(target)) || belongsIn(target.path, key)}`;
}

/** ` (did you mean volumes.NAME.size or cache.size?)`: where a setting is that was given without its section. */
function belongsIn(path: string, key: string): string {
  if (path !== '') return '';
  const sections = Object.entries(ROOT_SCHEMA).filter(([, node]) => !isField(node) && Object.hasOwn(node, key));
  const paths = sections.map(([section]) => `${section}.${key}`);
  if (Object.hasOwn(VOLUME_SCHEMA, key)) paths.unshift(`volumes.NAME.${key}`);
  return paths.length === 0 ? '' : ` (did you mean ${paths.join(' or ')}?)`;
}

function* knownKeys({ section, path }: { readonly section: Section; readonly path: string }): Iterable<string> {
  if (path === '') yield 'volumes';
  for (const [key, node] of Object.entries(section)) {
    yield key;
    if (isField(node) && node.sensitive) yield `${key}File`;
  }
}

/** How a value may be shown: quoted, or masked where it is a secret. */
export function shownValue(field: Field<unknown>, value: unknown): string {
  return field.sensitive && value !== null ? MASKED : show(value);
}

function join(parent: string, key: string): string {
  return parent === '' ? key : `${parent}.${key}`;
}
