/** Writes the man page, and the generated part of docs/CLI.md: `npm run docs`. */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { withReference } from './cli-page.ts';
import { manPage } from './man-page.ts';

const docs = new URL('../../../docs/', import.meta.url);
const page = new URL('CLI.md', docs);
writeFileSync(page, withReference(readFileSync(page, 'utf8')));
mkdirSync(new URL('man/', docs), { recursive: true });
writeFileSync(new URL('man/bucketdisk.1', docs), manPage());
