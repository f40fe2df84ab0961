/** Reads the configuration for those who go on where it cannot be used. */
import type { Command } from 'commander';
import { type LoadedSettings, loadSettings } from '../config/load-settings.ts';
import { ConfigError, describeProblem } from '../config/problems.ts';
import { isStorageError } from '../lib/errors.ts';
import type { DoctorOptions } from './actions.ts';
import { globalOptions, readSettings } from './command-frame.ts';
import type { Host } from './host.ts';

type About = Pick<DoctorOptions, 'settings' | 'problems' | 'files' | 'volumeNames' | 'credentialsFrom'>;

/** The settings, or where they cannot be used those of nobody, and what is wrong. */
export function readAnyway(host: Host, command: Command): About & { readonly loaded: LoadedSettings } {
  const options = globalOptions(command);
  try {
    const loaded = readSettings(host, options);
    const { settings, files, entries } = loaded;
    const credentialsFrom = entries.find(({ path }) => path === 'store.accessKeyId')?.source ?? 'default';
    return { loaded, settings, problems: [], files, volumeNames: Object.keys(settings.volumes), credentialsFrom };
  } catch (error) {
    if (!isStorageError(error)) throw error;
    const problems = error instanceof ConfigError ? error.problems.map(describeProblem) : [error.message];
    const secrets = error instanceof ConfigError ? error.secrets : [];
    const loaded = { ...loadSettings({ files: [], env: {}, set: [], cwd: host.cwd }), secrets };
    return { loaded, settings: null, problems, files: [], volumeNames: [], credentialsFrom: 'default' };
  }
}
