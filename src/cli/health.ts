/** `bucketdisk health`: whether the appliance runs and serves every volume, for health checks. */
import type { Command } from 'commander';
import { type Frame, withContext } from './command-frame.ts';
import { EXIT_CODES_HELP, EXIT_FAILURE, EXIT_OK } from './exit-code.ts';

export function addHealth(program: Command, frame: Frame): void {
  program
    .command('health')
    .summary('tell whether the appliance runs and serves every volume')
    .description(
      'Asks the running appliance over its control socket in cache.dir. Ends with 0 where it serves every configured volume, ' +
        'else with 1, and says why. The bucket is not asked.',
    )
    .addHelpText(
      'after',
      `
Examples:
  bucketdisk health
  bucketdisk health --json
${EXIT_CODES_HELP}`,
    )
    .action((_options: unknown, command: Command) =>
      withContext(frame, command, { quiet: true }, async (context) => {
        const report = await (await frame.host.loadActions()).health(context);
        const text = report.healthy ? 'ok\n' : report.problems.map((problem) => `${problem}\n`).join('');
        context.stdout.write(context.json ? `${JSON.stringify(report)}\n` : text);
        return report.healthy ? EXIT_OK : EXIT_FAILURE;
      }),
    );
}
