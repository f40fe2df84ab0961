/** Writes code.ts: to be run after each change of source.ts. */
import { writeFileSync } from 'node:fs';
import { assemblePageHash } from './assemble.ts';

const CODE_CHARACTERS_A_LINE = 100;

const code = (await assemblePageHash()).toString('base64');
const lines = code.match(new RegExp(`.{1,${CODE_CHARACTERS_A_LINE}}`, 'g')) ?? [];
writeFileSync(
  new URL('code.ts', import.meta.url),
  `/** The page hash as source.ts has it, assembled: written by write-code.ts. */
export const PAGE_HASH_CODE: string = [
${lines.map((line) => `  '${line}',`).join('\n')}
].join('');
`,
);
