/** Completion for fish: one line for each thing that may be said, with when it may. */
import type { Completion, ShellTables } from './shell-tables.ts';

export function fishCompletion({ verbs, places, valued, options }: ShellTables): string {
  const valuedFlags = valued.flatMap(({ flags }) => flags);
  const lines = places.flatMap(({ verb, position, completion }) => {
    const when = `-n ${quoted(`_bucketdisk_at ${position} ${verb}`.trimEnd())}`;
    return completionLines(completion).map((what) => `complete -c bucketdisk ${when} ${what}`);
  });
  const flagLines = options.flatMap(({ verb, words }) =>
    words.map(({ word, description }) => {
      const taken = valued.find(({ flags }) => flags.includes(word));
      const value = taken === undefined ? '' : ` -r ${completionLines(taken.completion, false)[0] ?? '-f'}`;
      const when = `_bucketdisk_in ${verb}`.trimEnd();
      return `complete -c bucketdisk -n ${quoted(when)} -l ${word.replace(/^--/, '')} -d ${quoted(description)}${value}`;
    }),
  );
  return `# Completion of bucketdisk in fish. Generated: bucketdisk completion fish > ~/.config/fish/completions/bucketdisk.fish
# Sets verb, position and config from the words before the cursor.
function _bucketdisk_walk --no-scope-shadowing
  set verb
  set position 0
  set config
  set -l flag
  for word in (commandline -opc)[2..]
    if test -n "$flag"
      contains -- $flag -c --config -s --set; and set -a config $flag $word
      set flag
    else if contains -- $word ${valuedFlags.join(' ')}
      set flag $word
    else if string match -q -- '-*' $word
    else if contains -- (string join ' ' $verb $word) ${verbs.map(quoted).join(' ')}
      set -a verb $word
    else
      set position (math $position + 1)
    end
  end
end

# Whether the verb is this one, and that many arguments have been given.
function _bucketdisk_at
  _bucketdisk_walk
  test $position -eq $argv[1]; and test "$verb" = "$argv[2..]"
end

function _bucketdisk_in
  _bucketdisk_walk
  test "$verb" = "$argv"
end

function _bucketdisk_volumes
  _bucketdisk_walk
  set -l command (commandline -opc)[1]
  $command $config completion volumes 2>/dev/null
end

complete -c bucketdisk -f
${[...lines, ...flagLines].join('\n')}
`;
}

/** `described`: with what each word means. */
function completionLines(completion: Completion, described = true): string[] {
  switch (completion.kind) {
    case 'words':
      if (!described) return [`-f -a ${quoted(completion.words.map(({ word }) => word).join(' '))}`];
      return completion.words.map(({ word, description }) => `-f -a ${quoted(word)} -d ${quoted(description)}`);
    case 'volume':
      return [`-f -a '(_bucketdisk_volumes)'`];
    case 'file':
      return ['-F'];
    case 'directory':
      return [`-f -a '(__fish_complete_directories)'`];
    case 'nothing':
      return ['-f'];
  }
}

function quoted(text: string): string {
  return `'${text.replaceAll('\\', '\\\\').replaceAll("'", "\\'")}'`;
}
