/** Reads the configuration: all layers, checked as a whole, as frozen `Settings`. The only place where it is read. */
import { fileURLToPath } from 'node:url';
import convict from 'convict';
import type { Environment } from './environment.ts';
import { type Decided, mergeLayers } from './merge-layers.ts';
import { ConfigError, MASKED, type Problem } from './problems.ts';
import { fieldsOf, ROOT_SCHEMA, type Section, type SpelledRoot, type SpelledVolume, VOLUME_SCHEMA } from './schema.ts';
import type { Settings, VolumeSettings } from './settings.ts';
import { checkAccess } from './tls-settings.ts';
import { toSettings } from './to-settings.ts';
import { checkVolumes, toVolumeSettings } from './to-volume-settings.ts';

export interface SettingsInput {
  /** `--config` files, in order; those of BUCKETDISK_CONFIG come before them. */
  readonly files: readonly string[];
  readonly env: Environment;
  /** `--set` flags, `path=value`, in order. */
  readonly set: readonly string[];
  /** What relative paths are taken from. */
  readonly cwd: string;
  /** The packaged config/default.json5 unless told otherwise; null: none. */
  readonly defaultsFile?: string | null;
}

/** A setting as it is shown to people: spelled as in a file, secrets masked. */
export interface SettingEntry {
  readonly path: string;
  readonly value: unknown;
  /** `default`, `bucketdisk.json5:7`, `BUCKETDISK_STORE_URL`, `--set store.url`. */
  readonly source: string;
}

export interface LoadedSettings {
  readonly settings: Settings;
  /** Every setting, in the order of the reference. */
  readonly entries: readonly SettingEntry[];
  /** Values that must never be printed. */
  readonly secrets: readonly string[];
  /** The files that were read, besides the packaged one. */
  readonly files: readonly string[];
}

/** The same from a package's src/ and dist/. */
const DEFAULTS_FILE = fileURLToPath(new URL('../../config/default.json5', import.meta.url));

/** Throws a ConfigError that tells everything that is wrong. */
export function loadSettings(input: SettingsInput): LoadedSettings {
  const { cwd, defaultsFile = DEFAULTS_FILE } = input;
  const merged = mergeLayers({
    ...input,
    defaultsFile: defaultsFile === null ? null : { path: defaultsFile, name: 'config/default.json5' },
  });
  const problems: Problem[] = [...merged.problems];
  const report = (path: string, message: string) => {
    problems.push({ path, value: null, message, source: sourceOf(merged.decided, path) });
  };
  // Values that are wrong by themselves are left out, so that the others can still be checked against each other.
  const sound = (path: string) => !merged.problems.some((problem) => problem.path.startsWith(path));

  const root = check<SpelledRoot>(ROOT_SCHEMA, '', merged.decided);
  const settings = toSettings(root, cwd, (path, message) => {
    if (sound(path.replace(/[^.]*$/, ''))) report(path, message);
  });
  const volumes = merged.volumes
    .filter((name) => sound(`volumes.${name}.`))
    .map((name) => {
      const prefix = `volumes.${name}.`;
      const spelled = check<SpelledVolume>(VOLUME_SCHEMA, prefix, merged.decided);
      return toVolumeSettings(name, spelled, settings, cwd, (path, message) => report(prefix + path, message));
    });
  if (sound('store.url')) checkVolumes(settings.store, volumes, report);
  if (sound('nbd.tls.')) checkAccess(settings.nbd.tls, volumes, report);
  const sections: [Section, string][] = [[ROOT_SCHEMA, '']];
  for (const name of merged.volumes) sections.push([VOLUME_SCHEMA, `volumes.${name}.`]);
  const secrets = sections.flatMap(([schema, prefix]) => secretsOf(schema, prefix, merged.decided));
  if (problems.length > 0) throw new ConfigError(problems, secrets);

  return {
    settings: deepFreeze({ ...settings, volumes: byName(withDefault(volumes)) }),
    entries: sections.flatMap(([schema, prefix]) => entriesOf(schema, prefix, merged.decided)),
    secrets,
    files: merged.files,
  };
}

/** The section with its defaults, held against the schema by convict. */
function check<T>(schema: Section, prefix: string, decided: ReadonlyMap<string, Decided>): T {
  // Without the environment and the arguments, which convict would read past our layers.
  const config = convict(schema as convict.Schema<Record<string, unknown>>, { env: {}, args: [] });
  for (const [path] of fieldsOf(schema)) {
    const given = decided.get(prefix + path);
    if (given !== undefined) config.set(path, given.value);
  }
  return config.validate({ allowed: 'strict' }).getProperties() as T;
}

function entriesOf(schema: Section, prefix: string, decided: ReadonlyMap<string, Decided>): SettingEntry[] {
  return [...fieldsOf(schema)].map(([relative, field]) => {
    const path = prefix + relative;
    const { value, source } = decided.get(path) ?? { value: field.default, source: 'default' };
    return { path, value: field.sensitive && value !== null ? MASKED : value, source };
  });
}

function secretsOf(schema: Section, prefix: string, decided: ReadonlyMap<string, Decided>): string[] {
  return [...fieldsOf(schema)]
    .filter(([, field]) => field.sensitive)
    .map(([path]) => decided.get(prefix + path)?.value)
    .filter((value) => typeof value === 'string');
}

/** Where the setting at `path` came from; for one that a volume lacks, where the volume did. */
function sourceOf(decided: ReadonlyMap<string, Decided>, path: string): string {
  const exact = decided.get(path);
  if (exact !== undefined) return exact.source;
  const volume = /^volumes\.[^.]+/.exec(path)?.[0];
  for (const [other, { source }] of decided) if (volume !== undefined && other.startsWith(`${volume}.`)) return source;
  return 'default';
}

/** An only volume is the default one. */
function withDefault(volumes: readonly VolumeSettings[]): readonly VolumeSettings[] {
  return volumes.length === 1 ? volumes.map((volume) => ({ ...volume, default: true })) : volumes;
}

/** Without a prototype, so that a lookup of `constructor` finds nothing. */
function byName(volumes: readonly VolumeSettings[]): Record<string, VolumeSettings> {
  const result: Record<string, VolumeSettings> = Object.create(null);
  for (const volume of volumes) result[volume.name] = volume;
  return result;
}

function deepFreeze<T extends object>(value: T): T {
  for (const child of Object.values(value)) if (typeof child === 'object' && child !== null) deepFreeze(child);
  return Object.freeze(value);
}
