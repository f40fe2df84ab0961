/** Which verb's help tells what is wrong with a command line. */
import type { Command, CommanderError } from 'commander';

const commands = new WeakMap<CommanderError, string>();

/** To be called once all verbs are there: commander's errors do not say which of them they are about. */
export function rememberVerbs(command: Command, path = command.name()): void {
  command.exitOverride((error) => {
    commands.set(error, path);
    throw error;
  });
  for (const verb of command.commands) rememberVerbs(verb, `${path} ${verb.name()}`);
}

/** `bucketdisk scan --help` */
export function helpFor(error: CommanderError): string {
  return `${commands.get(error) ?? 'bucketdisk'} --help`;
}
