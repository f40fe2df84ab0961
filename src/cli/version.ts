/** `bucketdisk version`: what runs here. */
import type { Command } from 'commander';
import { type Frame, globalOptions } from './command-frame.ts';
import { packageVersion } from './package-version.ts';

export function addVersion(program: Command, { host }: Frame): void {
  program
    .command('version')
    .summary('print the version')
    .description('Prints the version of bucketdisk and of the Node it runs on.')
    .addHelpText('after', '\nExamples:\n  bucketdisk version\n  bucketdisk version --json')
    .action((_options: unknown, command: Command) => {
      const version = {
        version: packageVersion(),
        node: process.versions.node,
        platform: `${process.platform} ${process.arch}`,
      };
      const text = `bucketdisk ${version.version} (Node ${version.node}, ${version.platform})`;
      host.stdout.write(`${globalOptions(command).json ? JSON.stringify(version) : text}\n`);
    });
}
