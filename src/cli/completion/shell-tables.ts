/** What every shell's completion is made of: which words may stand where. */
import { allVerbs, type OptionEntry, type ValueKind, type VerbEntry } from '../reference/verb-tree.ts';

export interface Word {
  readonly word: string;
  readonly description: string;
}

/** What a place is completed with: fixed words, or something that is looked up. */
export type Completion =
  | { readonly kind: 'words'; readonly words: readonly Word[] }
  | { readonly kind: Exclude<ValueKind, 'other'> }
  | { readonly kind: 'nothing' };

/** `verb` has been said, and `position` arguments of it. */
export interface Place {
  readonly verb: string;
  readonly position: number;
  readonly completion: Completion;
}

export interface ShellTables {
  readonly verbs: readonly string[];
  readonly places: readonly Place[];
  /** Flags that take a value, whatever the verb, and what it is completed with. */
  readonly valued: readonly { readonly flags: readonly string[]; readonly completion: Completion }[];
  /** For each verb, and for none, its options and those of every verb. */
  readonly options: readonly { readonly verb: string; readonly words: readonly Word[] }[];
}

export function shellTables(tree: VerbEntry): ShellTables {
  const verbs = allVerbs(tree);
  const everything = [tree, ...verbs];
  return {
    verbs: verbs.map(({ path }) => path),
    places: everything.flatMap(placesOf),
    valued: valuedOptions(everything.flatMap(({ options }) => options)),
    options: everything.map((verb) => ({
      verb: verb.path,
      words: [...(verb === tree ? [] : verb.options), ...tree.options, HELP].flatMap(optionWords),
    })),
  };
}

const HELP: OptionEntry = {
  term: '-h, --help',
  flags: ['-h', '--help'],
  description: 'show help',
  note: '',
  value: null,
};

function placesOf({ path, verbs, arguments: args }: VerbEntry): Place[] {
  if (verbs.length > 0) {
    const words = verbs.map((child) => ({ word: child.path.split(' ').at(-1) ?? '', description: child.summary }));
    return [{ verb: path, position: 0, completion: { kind: 'words', words } }];
  }
  return args.map(({ kind, choices, description }, position) => ({
    verb: path,
    position,
    completion: completionOf(kind, choices, description),
  }));
}

/** One flag means one thing, whichever verb it is for. */
function valuedOptions(options: readonly OptionEntry[]): ShellTables['valued'] {
  const seen = new Set<string>();
  return options.flatMap(({ flags, value, description }) => {
    const fresh = flags.filter((flag) => !seen.has(flag));
    if (value === null || fresh.length === 0) return [];
    for (const flag of fresh) seen.add(flag);
    return [{ flags: fresh, completion: completionOf(value.kind, value.choices, description) }];
  });
}

function completionOf(kind: ValueKind, choices: readonly string[], description: string): Completion {
  if (choices.length > 0) return { kind: 'words', words: choices.map((word) => ({ word, description })) };
  return kind === 'other' ? { kind: 'nothing' } : { kind };
}

/** The long spelling, which says what it is. */
function optionWords({ flags, description }: OptionEntry): Word[] {
  const word = flags.at(-1);
  return word === undefined ? [] : [{ word, description }];
}
