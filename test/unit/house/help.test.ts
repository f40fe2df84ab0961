/** Help that teaches: every verb says what it does, what each part of it means, and shows it done, with words that exist. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { shellTables } from '../../../src/cli/completion/shell-tables.ts';
import { commandTree } from '../../../src/cli/reference/command-tree.ts';
import { allVerbs, leafVerbs, type VerbEntry } from '../../../src/cli/reference/verb-tree.ts';

const tree = commandTree();

test('every verb has a summary, a description in sentences, and says what each argument and option means', () => {
  for (const verb of allVerbs(tree)) {
    assert.match(verb.summary, /^[a-z].*[^.]$/, verb.path);
    assert.match(verb.description, /^[A-Z"][\s\S]*\.$/, verb.path);
    for (const { term, description } of [...verb.arguments, ...verb.options]) {
      assert.notEqual(description, '', `${verb.path} ${term}`);
    }
  }
});

test('every verb shows itself done, in examples whose verbs and options there are', () => {
  for (const verb of leafVerbs(tree)) {
    const examples = examplesOf(verb);
    assert.ok(
      examples.some((example) => example.startsWith(`bucketdisk ${verb.path}`)),
      `${verb.path} has no example of its own`,
    );
    for (const example of examples) assert.deepEqual(unknownWords(example), [], example);
  }
});

test('a flag that takes a value takes one in every verb, as completion has it', () => {
  const { valued } = shellTables(tree);
  const flags = new Set(valued.flatMap((option) => option.flags));
  for (const { path, options } of [tree, ...allVerbs(tree)]) {
    for (const option of options) {
      for (const flag of option.flags) assert.equal(flags.has(flag), option.value !== null, `${path} ${flag}`);
    }
  }
});

/** The commands of ours in the help: without what stands beside them as a comment, or follows in a pipe. */
function examplesOf({ after }: VerbEntry): string[] {
  const lines = after.split(/^Examples:$/m)[1]?.split(/^[A-Z].*:$/m)[0] ?? '';
  return lines.split('\n').flatMap((line) => /bucketdisk [a-z-].*?(?= {2,}| \||\)| >|$)/.exec(line)?.[0] ?? []);
}

function unknownWords(example: string): string[] {
  const words = example.split(/\s+/).slice(1);
  let verb: VerbEntry = tree;
  const unknown: string[] = [];
  for (const word of words) {
    const next = verb.verbs.find(({ path }) => path.split(' ').at(-1) === word);
    if (next !== undefined) verb = next;
    else if (verb.verbs.length > 0 && !word.startsWith('-')) unknown.push(word);
    const known = [...tree.options, ...verb.options].flatMap(({ flags }) => flags);
    if (word.startsWith('--') && !known.includes(word.split('=')[0] ?? '')) unknown.push(word);
  }
  return unknown;
}
