/** The part of docs/CLI.md that is made from the command line itself: every verb with its options and examples. */
import { commandTree } from './command-tree.ts';
import { allVerbs, leafVerbs, usageOf, type VerbEntry } from './verb-tree.ts';

const BEGIN = '<!-- Generated from src/cli by `npm run docs`: do not edit from here on. -->';
const END = '<!-- End of the generated part. -->';

/** The page with its generated part as it has to be. Throws where it has none. */
export function withReference(page: string): string {
  const begin = page.indexOf(BEGIN);
  const end = page.indexOf(END);
  if (begin < 0 || end < begin) throw new Error('docs/CLI.md has lost the marks of its generated part');
  return `${page.slice(0, begin)}${BEGIN}\n\n${reference()}\n${page.slice(end)}`;
}

function reference(): string {
  const tree = commandTree();
  const rows = leafVerbs(tree).map((verb) => `| [\`${verb.path}\`](#${anchor(verb)}) | ${cell(verb.summary)} |`);
  const table = ['| verb | what it does |', '| --- | --- |', ...rows].join('\n');
  const general = tree.options.map((option) => `- \`${option.term}\`: ${option.description}`).join('\n');
  const sections = allVerbs(tree)
    .filter(({ verbs }) => verbs.length === 0)
    .map(section);
  return [table, '### Options of every verb', general, ...sections].join('\n\n').concat('\n');
}

function section(verb: VerbEntry): string {
  const parts = [`### \`${verb.path}\``, verb.description, `\`\`\`\n${usageOf(verb)}\n\`\`\``];
  const terms = [...verb.arguments, ...verb.options].map(
    ({ term, description, note }) => `- \`${term}\`: ${description}${note}`,
  );
  if (terms.length > 0) parts.push(terms.join('\n'));
  if (verb.after !== '') parts.push(`\`\`\`\n${verb.after}\n\`\`\``);
  return parts.join('\n\n');
}

/** As GitHub makes it of the heading. */
function anchor({ path }: VerbEntry): string {
  return path.replaceAll(' ', '-');
}

function cell(text: string): string {
  return text.replaceAll('|', '\\|');
}
