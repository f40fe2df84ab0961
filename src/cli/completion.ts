/** `bucketdisk completion`: what a shell needs to complete verbs, options and the names of volumes. */
import { Argument, type Command } from 'commander';
import { type Frame, globalOptions, readSettings } from './command-frame.ts';
import { fishCompletion } from './completion/fish-shell.ts';
import { bashCompletion, zshCompletion } from './completion/posix-shells.ts';
import { shellTables } from './completion/shell-tables.ts';
import { verbTree } from './reference/verb-tree.ts';

const SHELLS = { bash: bashCompletion, zsh: zshCompletion, fish: fishCompletion } as const;

export function addCompletion(program: Command, { host }: Frame): void {
  program
    .command('completion')
    .summary('print the completion for a shell')
    .description(
      'Prints what a shell needs to complete verbs, options, files and the names of the configured volumes. "volumes" prints those ' +
        'names instead, a line each, which is what the shell asks for.',
    )
    .addArgument(new Argument('<shell>', 'the shell').choices([...Object.keys(SHELLS), 'volumes']))
    .addHelpText(
      'after',
      `
Examples:
  source <(bucketdisk completion bash)               in ~/.bashrc
  bucketdisk completion bash > /etc/bash_completion.d/bucketdisk
  bucketdisk completion zsh > "\${fpath[1]}/_bucketdisk"
  bucketdisk completion fish > ~/.config/fish/completions/bucketdisk.fish`,
    )
    .action((shell: keyof typeof SHELLS | 'volumes', _options: unknown, command: Command) => {
      if (shell !== 'volumes') {
        host.stdout.write(SHELLS[shell](shellTables(verbTree(program))));
        return;
      }
      const { settings } = readSettings(host, globalOptions(command));
      host.stdout.write(
        Object.keys(settings.volumes)
          .map((name) => `${name}\n`)
          .join(''),
      );
    });
}
