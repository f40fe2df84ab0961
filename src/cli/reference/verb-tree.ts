/** The command line as data, taken from commander: what its help, the man page, the reference and the completion are made of. */
import type { EventEmitter } from 'node:events';
import type { Argument, Command, Option } from 'commander';

/** What a value is completed with. */
export type ValueKind = 'volume' | 'file' | 'directory' | 'other';

export interface ArgumentEntry {
  /** `<name>`, `[file]`. */
  readonly term: string;
  readonly description: string;
  /** What may be given, as the help ends its description: ` (bash, zsh or fish)`; empty where the description says it all. */
  readonly note: string;
  readonly kind: ValueKind;
  readonly choices: readonly string[];
}

export interface OptionEntry {
  /** `-c, --config <file>`. */
  readonly term: string;
  /** `-c` and `--config`. */
  readonly flags: readonly string[];
  readonly description: string;
  /** As of an argument, and what holds where the option is left out. */
  readonly note: string;
  /** Null where it takes none. */
  readonly value: { readonly kind: ValueKind; readonly choices: readonly string[] } | null;
}

export interface VerbEntry {
  /** `cache export`; empty for the program itself. */
  readonly path: string;
  readonly summary: string;
  readonly description: string;
  readonly arguments: readonly ArgumentEntry[];
  readonly options: readonly OptionEntry[];
  /** What its help ends with: examples, exit codes. */
  readonly after: string;
  readonly verbs: readonly VerbEntry[];
}

/** Hidden verbs and options are left out, and so is `help`, which every verb has. */
export function verbTree(command: Command, path = ''): VerbEntry {
  return {
    path,
    summary: command.summary(),
    description: command.description(),
    arguments: command.registeredArguments.map(argumentEntry),
    options: command.options.filter(({ hidden }) => !hidden).map(optionEntry),
    after: helpAfter(command),
    verbs: command
      .createHelp()
      .visibleCommands(command)
      .flatMap((child) => {
        if (child.name() === 'help') return [];
        return [verbTree(child, path === '' ? child.name() : `${path} ${child.name()}`)];
      }),
  };
}

/** Every verb that does something by itself, in the order of the help. */
export function leafVerbs(tree: VerbEntry): VerbEntry[] {
  return tree.verbs.flatMap((verb) => (verb.verbs.length === 0 ? [verb] : leafVerbs(verb)));
}

/** Every verb, groups of them too, but not the program. */
export function allVerbs(tree: VerbEntry): VerbEntry[] {
  return tree.verbs.flatMap((verb) => [verb, ...allVerbs(verb)]);
}

/** `bucketdisk cache export [options] <name> <file>` */
export function usageOf({ path, arguments: args, options, verbs }: VerbEntry): string {
  const parts = ['bucketdisk', path, options.length > 0 ? '[options]' : '', ...args.map(({ term }) => term)];
  return [...parts, verbs.length > 0 ? '<verb>' : ''].filter((part) => part !== '').join(' ');
}

function argumentEntry(argument: Argument): ArgumentEntry {
  const { description, required, variadic, argChoices } = argument;
  const name = `${argument.name()}${variadic ? '...' : ''}`;
  const term = required ? `<${name}>` : `[${name}]`;
  return {
    term,
    description,
    note: noteOf(argChoices, undefined),
    kind: kindOf(argument.name(), description),
    choices: argChoices ?? listedIn(description),
  };
}

function optionEntry(option: Option): OptionEntry {
  const { flags, short, long, description, argChoices, required, optional } = option;
  const valueName = /[<[]([^>\]]+)/.exec(flags)?.[1] ?? '';
  const takesValue = required || optional;
  const choices = argChoices ?? listedIn(description);
  return {
    term: flags,
    flags: [short, long].filter((flag) => flag !== undefined && flag !== null),
    description,
    note: noteOf(argChoices, takesValue ? option.defaultValue : undefined),
    value: takesValue ? { kind: kindOf(valueName, description), choices } : null,
  };
}

function noteOf(choices: readonly string[] | undefined, byDefault: unknown): string {
  const parts = [
    ...(choices === undefined ? [] : [choices.join(', ').replace(/, ([^,]*)$/, ' or $1')]),
    ...(typeof byDefault === 'string' ? [`${byDefault} where left out`] : []),
  ];
  return parts.length === 0 ? '' : ` (${parts.join('; ')})`;
}

/** Values that are listed in a description, as in `error, warn, info or debug`. */
function listedIn(description: string): string[] {
  return /^[a-z0-9-]+(?:, [a-z0-9-]+)* or [a-z0-9-]+$/.exec(description)?.[0].split(/, | or /) ?? [];
}

/** By what it is called; a name is that of a volume where its description says so. */
function kindOf(name: string, description: string): ValueKind {
  if (name === 'volume' || (name === 'name' && /volume|once more/.test(description))) return 'volume';
  if (name === 'file') return 'file';
  return name === 'dir' ? 'directory' : 'other';
}

/** Commander keeps it as a listener that writes. */
function helpAfter(command: Command): string {
  let text = '';
  const write = (part: string): void => {
    text += part;
  };
  (command as unknown as EventEmitter).emit('afterHelp', { error: false, command, write });
  return text.trim();
}
