/** The environment as a layer of the configuration: `BUCKETDISK_STORE_URL` is `store.url`. */
import { assignText, emptyLayer, findTarget, type Layer } from './assignments.ts';
import { fieldsOf, ROOT_SCHEMA, type Section, VOLUME_SCHEMA } from './schema.ts';
import { didYouMean } from './suggest.ts';

export type Environment = Readonly<Record<string, string | undefined>>;

const PREFIX = 'BUCKETDISK_';
export const CONFIG_VARIABLE = 'BUCKETDISK_CONFIG';
export const VOLUMES_VARIABLE = 'BUCKETDISK_VOLUMES';

/**
 * What Kubernetes and Docker put into the environment of every container beside a service that is called `bucketdisk`,
 * or begins so: `BUCKETDISK_SERVICE_HOST`, `BUCKETDISK_PORT_10809_TCP_ADDR`. It is no setting of ours.
 */
const SERVICE_LINK =
  /^BUCKETDISK_(?:\w+_)?(?:SERVICE_HOST|SERVICE_PORT(?:_\w+)?|PORT|PORT_\d+_(?:TCP|UDP|SCTP)(?:_(?:PROTO|PORT|ADDR))?)$/;

/** The variable that sets `path`: `BUCKETDISK_STORE_FORCE_PATH_STYLE` for `store.forcePathStyle`. */
export function variableName(path: string): string {
  return (
    PREFIX +
    path
      .replace(/([a-z0-9])([A-Z])/g, '$1_$2')
      .replace(/[.-]/g, '_')
      .toUpperCase()
  );
}

/** `BUCKETDISK_VOLUMES`, which can name volumes that no file does. */
export function volumesVariableLayer(env: Environment): Layer {
  const layer = emptyLayer();
  const text = env[VOLUMES_VARIABLE];
  if (text !== undefined && text !== '') assignText(layer, { kind: 'volumes' }, text, VOLUMES_VARIABLE);
  return layer;
}

/** Every other variable. `volumes`: the configured volumes, whose settings have variables too. An empty one is not set. */
export function environmentLayer(env: Environment, volumes: readonly string[]): Layer {
  const layer = emptyLayer();
  const known = knownVariables(volumes);
  for (const [name, text] of Object.entries(env)) {
    if (text === undefined || text === '' || !name.startsWith(PREFIX)) continue;
    if (name === CONFIG_VARIABLE || name === VOLUMES_VARIABLE) continue;
    const [path, rival] = known.get(name) ?? [];
    const target = path === undefined ? undefined : findTarget(path);
    if (path !== undefined && rival !== undefined) {
      const message = `it could set ${path} or ${rival}: name them in ${VOLUMES_VARIABLE}`;
      layer.problems.push({ path: name, value: null, message, source: 'environment' });
    } else if (target !== undefined && typeof target !== 'string') {
      assignText(layer, target, text, name);
    } else if (!SERVICE_LINK.test(name)) {
      layer.problems.push({
        path: name,
        value: null,
        message: unknownVariable(name, known, volumes),
        source: 'environment',
      });
    }
  }
  // Which volumes there are is decided elsewhere: a variable only changes one that is there.
  layer.volumes.clear();
  return layer;
}

function unknownVariable(name: string, known: ReadonlyMap<string, unknown>, volumes: readonly string[]): string {
  const foreign = volumes.every((volume) => !name.startsWith(`${variableName(`volumes.${volume}`)}_`));
  if (foreign && name.startsWith(`${VOLUMES_VARIABLE}_`)) {
    return `it belongs to no configured volume (${volumes.join(', ') || 'there is none'})`;
  }
  return `unknown variable${didYouMean(name, [...known.keys(), CONFIG_VARIABLE, VOLUMES_VARIABLE])}`;
}

/** Each variable with the path it sets, or the paths that it could set. */
function knownVariables(volumes: readonly string[]): ReadonlyMap<string, readonly string[]> {
  const known = new Map<string, string[]>();
  const add = (path: string) => {
    const name = variableName(path);
    known.set(name, [...(known.get(name) ?? []), path]);
  };
  for (const path of settablePaths(ROOT_SCHEMA, '')) add(path);
  for (const volume of volumes) for (const path of settablePaths(VOLUME_SCHEMA, `volumes.${volume}.`)) add(path);
  return known;
}

function* settablePaths(section: Section, prefix: string): Iterable<string> {
  for (const [path, { sensitive }] of fieldsOf(section, prefix)) {
    yield path;
    if (sensitive) yield `${path}File`;
  }
}
