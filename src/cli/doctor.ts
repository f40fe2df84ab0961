/** `bucketdisk doctor`: what is wrong, and what to do about it. */
import type { Command } from 'commander';
import { type LoadedSettings, loadSettings } from '../config/load-settings.ts';
import { ConfigError, describeProblem } from '../config/problems.ts';
import { isStorageError } from '../lib/errors.ts';
import { escapeControls } from '../telemetry/log-format.ts';
import type { DoctorOptions, DoctorReport } from './actions.ts';
import { type Frame, globalOptions, readSettings, withSettings } from './command-frame.ts';
import { EXIT_DOCTOR, EXIT_OK } from './exit-code.ts';
import type { Host } from './host.ts';

export function addDoctor(program: Command, frame: Frame): void {
  program
    .command('doctor')
    .summary('find out what is wrong, and what to do about it')
    .description(
      'Looks at everything that has to be right: the configuration, credentials, the bucket and whether it honours conditional ' +
        'puts, the clock, the disk of cache.dir and whether its syncs can be believed, what mounting needs, what a crash has ' +
        'left, who holds the volumes, limits. It changes nothing, and runs beside an appliance; the small objects and the ' +
        'file it tries things with are removed again.',
    )
    .addHelpText(
      'after',
      `
Each line begins with ok, warn (it works, and is worth knowing) or fail. What to do follows below it.

Examples:
  bucketdisk doctor --config media.json5
  bucketdisk doctor --json | jq '.findings[] | select(.state == "fail")'

Exit codes:
  0 no check failed, 14 a check failed, 2 the command line is wrong, 130 interrupted`,
    )
    .action(async (_options: unknown, command: Command) => {
      const { host } = frame;
      const { loaded, ...about } = readAnyway(host, command);
      await withSettings(frame, command, loaded, { quiet: true }, async ({ json, stdout, signal }) => {
        const actions = await host.loadActions();
        const report = await actions.examine({
          ...about,
          env: host.env,
          signal,
          onFinding: (finding) => json || stdout.write(findingText(finding, stdout.isTTY === true)),
        });
        stdout.write(json ? `${JSON.stringify(report)}\n` : summaryText(report));
        return report.ok ? EXIT_OK : EXIT_DOCTOR;
      });
    });
}

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
    const loaded = loadSettings({ files: [], env: {}, set: [], cwd: host.cwd });
    return { loaded, settings: null, problems, files: [], volumeNames: [], credentialsFrom: 'default' };
  }
}

type Finding = DoctorReport['findings'][number];

const COLOURS = { ok: 32, warn: 33, fail: 31 } as const;
const CHECK_WIDTH = 18;

export function findingText({ check, state, message, remedy }: Finding, colour: boolean): string {
  const word = state.padEnd(4);
  const mark = colour ? `\x1b[${COLOURS[state]}m${word}\x1b[0m` : word;
  const line = `${mark}  ${check.padEnd(CHECK_WIDTH)}  ${escapeControls(message)}\n`;
  return remedy === null ? line : `${line}${' '.repeat(CHECK_WIDTH + 8)}-> ${escapeControls(remedy)}\n`;
}

export function summaryText({ findings }: DoctorReport): string {
  const count = (state: Finding['state']): number => findings.filter((finding) => finding.state === state).length;
  const failed = count('fail');
  const verdict = failed === 0 ? 'no check failed' : `${failed} ${failed === 1 ? 'check' : 'checks'} failed`;
  return `\n${verdict}, ${count('warn')} with a warning, ${count('ok')} ok\n`;
}
