/** `bucketdisk config show` and `config validate`: what is configured, and whether it can be. */
import type { Command } from 'commander';
import type { LoadedSettings, SettingEntry } from '../config/load-settings.ts';
import { escapeControls } from '../telemetry/log-format.ts';
import { type Frame, globalOptions, readSettings } from './command-frame.ts';
import { formatTable } from './table.ts';

export function addConfig(program: Command, { host }: Frame): void {
  const config = program
    .command('config')
    .summary('show or check the configuration')
    .description('Shows or checks the configuration that files, environment and flags add up to.');

  config
    .command('show')
    .summary('print every setting')
    .description('Prints every setting with its value, secrets masked.')
    .option('--sources', 'also tell where each value comes from', false)
    .addHelpText(
      'after',
      `
Examples:
  bucketdisk config show --sources --config media.json5
  bucketdisk config show --json | jq .settings.store`,
    )
    .action((options: { sources: boolean }, command: Command) => {
      const global = globalOptions(command);
      const { entries } = readSettings(host, global);
      host.stdout.write(global.json ? showAsJson(entries, options.sources) : showAsText(entries, options.sources));
    });

  config
    .command('validate')
    .summary('check the configuration')
    .description(
      'Checks the configuration as `serve` would, without reaching for the bucket, or reading the files of TLS, which `doctor` does. Tells every error there is.',
    )
    .addHelpText(
      'after',
      `
Examples:
  bucketdisk config validate --config media.json5

Exit codes:
  0 the configuration can be used, 2 it cannot`,
    )
    .action((_options: unknown, command: Command) => {
      const global = globalOptions(command);
      const loaded = readSettings(host, global);
      host.stdout.write(global.json ? `${JSON.stringify(summary(loaded))}\n` : describeSummary(summary(loaded)));
    });
}

function showAsText(entries: readonly SettingEntry[], withSources: boolean): string {
  return formatTable(
    entries.map(({ path, value, source }) => {
      const cells = [path, escapeControls(JSON.stringify(value))];
      return withSources ? [...cells, source] : cells;
    }),
  );
}

/** `{"settings":{"store":{"url":...}},"sources":{"store.url":"..."}}`, the second part only where it was asked for. */
function showAsJson(entries: readonly SettingEntry[], withSources: boolean): string {
  const settings: Record<string, unknown> = {};
  for (const { path, value } of entries) put(settings, path.split('.'), value);
  const sources = Object.fromEntries(entries.map(({ path, source }) => [path, source]));
  return `${JSON.stringify(withSources ? { settings, sources } : { settings }, null, 2)}\n`;
}

function put(parent: Record<string, unknown>, [key = '', ...rest]: readonly string[], value: unknown): void {
  if (rest.length === 0) {
    parent[key] = value;
    return;
  }
  // Own properties only: a volume may be called "constructor".
  const child = Object.hasOwn(parent, key) ? (parent[key] as Record<string, unknown>) : {};
  parent[key] = child;
  put(child, rest, value);
}

interface Summary {
  readonly ok: true;
  readonly files: readonly string[];
  readonly store: string;
  readonly volumes: readonly string[];
}

function summary({ settings, files }: LoadedSettings): Summary {
  return { ok: true, files, store: settings.store.url, volumes: Object.keys(settings.volumes) };
}

function describeSummary({ files, store, volumes }: Summary): string {
  const from = files.length === 0 ? 'no configuration file' : files.join(', ');
  const what = volumes.length === 1 ? 'volume' : 'volumes';
  return `ok: ${volumes.length} ${what} (${volumes.join(', ')}) in ${store}, from ${from}\n`;
}
