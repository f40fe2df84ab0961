/** `bucketdisk doctor`: what is wrong, and what to do about it. */
import type { Command } from 'commander';
import { type Frame, withSettings } from './command-frame.ts';
import { findingText, summaryText } from './doctor-text.ts';
import { EXIT_DOCTOR, EXIT_OK } from './exit-code.ts';
import { readAnyway } from './read-anyway.ts';

export function addDoctor(program: Command, frame: Frame): void {
  program
    .command('doctor')
    .summary('find out what is wrong, and what to do about it')
    .description(
      'Looks at everything that has to be right: the configuration, credentials, the bucket and whether it honours conditional ' +
        'puts, the clock, the disk of cache.dir and whether its syncs can be believed, the files of TLS, what mounting needs, what a crash has ' +
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
