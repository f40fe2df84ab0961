/** Completion for bash and zsh: one walk over the words before the cursor, in the common language of the two. */
import type { Completion, ShellTables } from './shell-tables.ts';

/** What differs between the two. */
interface Dialect {
  /** Lines that answer with the words of a `case`. */
  readonly complete: (completion: Completion) => string;
}

const bash: Dialect = {
  complete: (completion) => {
    switch (completion.kind) {
      case 'words':
        return `_bucketdisk_words ${quoted(completion.words.map(({ word }) => word).join(' '))}`;
      case 'volume':
        return `_bucketdisk_words "$("$command" "\${config[@]}" completion volumes 2>/dev/null)"`;
      case 'file':
        return '_bucketdisk_paths -f';
      case 'directory':
        return '_bucketdisk_paths -d';
      case 'nothing':
        return ':';
    }
  },
};

const zsh: Dialect = {
  complete: (completion) => {
    switch (completion.kind) {
      case 'words': {
        const items = completion.words.map(({ word, description }) =>
          quoted(`${word.replaceAll(':', '\\:')}:${description}`),
        );
        return `found=(${items.join(' ')}); _describe word found`;
      }
      case 'volume':
        return `found=(\${(f)"$("$command" "\${config[@]}" completion volumes 2>/dev/null)"}); compadd -a found`;
      case 'file':
        return '_files';
      case 'directory':
        return '_files -/';
      case 'nothing':
        return ':';
    }
  },
};

export function bashCompletion(tables: ShellTables): string {
  return `# Completion of bucketdisk in bash. Generated: source <(bucketdisk completion bash)
_bucketdisk_words() {
  mapfile -t COMPREPLY < <(compgen -W "$1" -- "$current")
}

_bucketdisk_paths() {
  compopt -o filenames 2>/dev/null
  mapfile -t COMPREPLY < <(compgen "$1" -- "$current")
}

_bucketdisk() {
  local command=$1 current=\${COMP_WORDS[COMP_CWORD]} verb='' position=0 flag='' word index
  local -a config=()
  COMPREPLY=()
  for ((index = 1; index < COMP_CWORD; index++)); do
    word=\${COMP_WORDS[index]}
${walk(tables)}
  done
${answers(tables, bash)}
}

complete -F _bucketdisk bucketdisk
`;
}

export function zshCompletion(tables: ShellTables): string {
  return `#compdef bucketdisk
# Completion of bucketdisk in zsh. Generated: bucketdisk completion zsh > "\${fpath[1]}/_bucketdisk"
_bucketdisk() {
  local command=\${words[1]} current=\${words[CURRENT]} verb='' position=0 flag='' word index
  local -a config=() found=()
  for ((index = 2; index < CURRENT; index++)); do
    word=\${words[index]}
${walk(tables)}
  done
${answers(tables, zsh)}
}

if [[ \${funcstack[1]} == _bucketdisk ]]; then _bucketdisk "$@"; else compdef _bucketdisk bucketdisk; fi
`;
}

/** Takes one word: the value of a flag, a flag, a part of the verb, or an argument. The configuration is passed on to whoever asks for volumes. */
function walk({ valued, verbs }: ShellTables): string {
  const flags = valued.flatMap((option) => option.flags);
  return `    if [[ -n $flag ]]; then
      case $flag in
        -c | --config | -s | --set) config+=("$flag" "$word") ;;
      esac
      flag=''
      continue
    fi
    case $word in
      ${flags.join(' | ')}) flag=$word ;;
      -*) ;;
      *)
        case "\${verb:+$verb }$word" in
          ${verbs.map((verb) => quoted(verb)).join(' | ')})
            verb="\${verb:+$verb }$word"
            ;;
          *) position=$((position + 1)) ;;
        esac
        ;;
    esac`;
}

function answers({ valued, options, places }: ShellTables, dialect: Dialect): string {
  const cases = (entries: readonly (readonly [string, string])[]): string =>
    entries.map(([pattern, action]) => `      ${pattern}) ${action} ;;`).join('\n');
  return `  if [[ -n $flag ]]; then
    case $flag in
${cases(valued.map(({ flags, completion }) => [flags.join(' | '), dialect.complete(completion)]))}
    esac
  elif [[ $current == -* ]]; then
    case $verb in
${cases(options.map(({ verb, words }) => [quoted(verb), dialect.complete({ kind: 'words', words })]))}
    esac
  else
    case "$verb:$position" in
${cases(places.map(({ verb, position, completion }) => [quoted(`${verb}:${position}`), dialect.complete(completion)]))}
    esac
  fi`;
}

function quoted(text: string): string {
  return `'${text.replaceAll("'", "'\\''")}'`;
}
