/** `bucketdisk support-bundle`: one file for whoever is to help. */
import { hostname } from 'node:os';
import { resolve } from 'node:path';
import type { Command } from 'commander';
import { approximateSize } from '../lib/units.ts';
import type { SupportOutcome } from './actions.ts';
import { collect, type Frame, withSettings } from './command-frame.ts';
import { EXIT_OK } from './exit-code.ts';
import { withProgress } from './progress.ts';
import { readAnyway } from './read-anyway.ts';
import { formatTable } from './table.ts';

export function addSupportBundle(program: Command, frame: Frame): void {
  program
    .command('support-bundle')
    .summary('gather what is needed to help, without secrets, in one file')
    .description(
      'Writes an archive (tar.gz) with the configuration, the status and the metrics of the running appliance, the newest lines of its ' +
        'log in the journal, what the doctor finds, versions and mounts. Passwords, keys, tokens and the users of URLs are masked; ' +
        'names of buckets, volumes, hosts and directories are not. It lists what is in it: look through it before you pass it on.',
    )
    .argument('[file]', 'where to write it; bucketdisk-support-HOST-TIME.tar.gz here where left out')
    .option('--log-file <file>', 'a log to take the end of, in place of the journal; may be repeated', collect)
    .addHelpText(
      'after',
      `
Examples:
  bucketdisk support-bundle --config media.json5
  bucketdisk support-bundle /tmp/help.tar.gz --log-file /var/log/bucketdisk.log
  tar -xzOf help.tar.gz help/doctor.txt              what the doctor found, out of it

Exit codes:
  0 ok, 2 the file is there already or cannot be written, 10 a log file is missing, 130 interrupted`,
    )
    .action(async (file: string | undefined, options: { logFile?: readonly string[] }, command: Command) => {
      const { host } = frame;
      const { loaded, ...about } = readAnyway(host, command);
      await withSettings(frame, command, loaded, { quiet: true }, async ({ json, stdout, stderr, signal }) => {
        const actions = await host.loadActions();
        const path = resolve(host.cwd, file ?? supportFileName(new Date()));
        const logFiles = (options.logFile ?? []).map((one) => resolve(host.cwd, one));
        const { entries, secrets } = loaded;
        const outcome = await withProgress(stderr, 'gathering', () =>
          actions.makeSupportBundle({ ...about, entries, secrets, path, logFiles, env: host.env, signal }),
        );
        stdout.write(json ? `${JSON.stringify(outcome)}\n` : outcomeText(outcome));
        return EXIT_OK;
      });
    });
}

function outcomeText({ path, sizeBytes, files }: SupportOutcome): string {
  const list = formatTable(files.map(({ name, about }) => [`  ${name}`, about]));
  return `wrote ${path} (${approximateSize(sizeBytes)}), with secrets masked:\n${list}`;
}

/** `bucketdisk-support-nas-20260131T120000.tar.gz` */
function supportFileName(now: Date): string {
  const stamp = now.toISOString().replaceAll(/[-:]|\.\d+Z/g, '');
  return `bucketdisk-support-${hostname().replaceAll(/[^\w.-]/g, '-')}-${stamp}.tar.gz`;
}
