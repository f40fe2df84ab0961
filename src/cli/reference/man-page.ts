/** The man page, bucketdisk(1), made from the command line itself. */
import { packageVersion } from '../package-version.ts';
import { commandTree } from './command-tree.ts';
import { allVerbs, usageOf, type VerbEntry } from './verb-tree.ts';

/** Of the newest change that readers would notice; the page itself follows the command line. */
const DATE = '2026-11-30';
/** Hyphens take two characters in the source. */
const WIDTH = 70;

const HEADER = '.\\" Generated from src/cli by "npm run docs". Do not edit.';

/** In roff, with the macros of man(7). */
export function manPage(): string {
  const tree = commandTree();
  const verbs = allVerbs(tree).filter(({ verbs: children }) => children.length === 0);
  const lines = [
    HEADER,
    `.TH BUCKETDISK 1 ${DATE} "bucketdisk ${packageVersion()}" "User Commands"`,
    '.SH NAME',
    'bucketdisk \\- a disk in a bucket',
    '.SH SYNOPSIS',
    '.B bucketdisk',
    roff('[options] <verb> [arguments]'),
    '.SH DESCRIPTION',
    ...paragraph(tree.description),
    '.PP',
    ...paragraph(
      'A configuration is put together from files in JSON5 (--config), the environment (BUCKETDISK_STORE_URL sets store.url) and ' +
        '--set, which wins. The answer of a verb goes to standard output, and nothing else does: logs, progress and errors go to ' +
        'standard error.',
    ),
    '.SH OPTIONS OF EVERY VERB',
    ...terms(tree),
    '.SH VERBS',
    ...verbs.flatMap(verbLines),
    '.SH EXIT STATUS',
    ...EXIT_CODES.flatMap(([code, meaning]) => ['.TP', `.B ${code}`, roff(meaning)]),
    '.SH ENVIRONMENT',
    '.TP',
    '.B BUCKETDISK_CONFIG',
    ...paragraph('Configuration files, separated by colons. Those of --config come after them.'),
    '.TP',
    '.B BUCKETDISK_*',
    'Every setting: its path in capitals, with underscores.',
    '.TP',
    '.B AWS_*',
    'Credentials, where none are set, as the AWS SDK reads them.',
    '.SH FILES',
    '.TP',
    '.I /var/lib/bucketdisk',
    ...paragraph('The cache, unless cache.dir says otherwise. Writes that are not in the bucket yet are here.'),
  ];
  return `${lines.join('\n')}\n`;
}

const EXIT_CODES: readonly (readonly [number, string])[] = [
  [0, 'ok'],
  [1, 'failure'],
  [2, 'the command line or the configuration is wrong, or Node is too old'],
  [3, 'the scan found damage'],
  [10, 'no such volume or bucket'],
  [11, 'held by another writer, or taken over by one'],
  [12, "credentials or a volume's password refused"],
  [13, 'stopped with writes that are safe in the cache and not in the bucket'],
  [14, 'a check of the doctor failed'],
  [130, 'interrupted'],
];

function verbLines(verb: VerbEntry): string[] {
  return [
    `.SS ${roff(verb.path)}`,
    `.B ${roff(usageOf(verb))}`,
    '.PP',
    ...paragraph(verb.description),
    ...terms(verb),
    ...(verb.after === '' ? [] : ['.PP', '.nf', ...verb.after.split('\n').map(roff), '.fi']),
  ];
}

function terms({ arguments: args, options }: VerbEntry): string[] {
  return [...args, ...options].flatMap(({ term, description, note }) => [
    '.TP',
    `.B ${roff(term)}`,
    ...paragraph(`${description}${note}`),
  ]);
}

/** A sentence begins a line, as roff wants it: the space after its end is roff's own matter. */
function paragraph(text: string): string[] {
  return text.split(/(?<=[.:]) (?=[A-Z])/).flatMap((sentence) => wrapped(sentence).map(roff));
}

/** Lines of source, which roff fills again. */
function wrapped(text: string): string[] {
  const lines = [''];
  for (const word of text.split(' ')) {
    const line = `${lines.at(-1)} ${word}`.trimStart();
    if (line.length > WIDTH) lines.push(word);
    else lines[lines.length - 1] = line;
  }
  return lines;
}

/** Backslashes and hyphens mean something to roff, and so does a dot or a quote that begins a line. */
function roff(text: string): string {
  const plain = text.replaceAll('\\', '\\e').replaceAll('-', '\\-');
  return /^[.']/.test(plain) ? `\\&${plain}` : plain;
}
