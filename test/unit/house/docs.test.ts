/** What is made from the command line is as the command line is now. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { withReference } from '../../../src/cli/reference/cli-page.ts';
import { manPage } from '../../../src/cli/reference/man-page.ts';

const read = (path: string): string => readFileSync(new URL(`../../../docs/${path}`, import.meta.url), 'utf8');

test('docs/CLI.md lists every verb with its options: npm run docs', () => {
  const page = read('CLI.md');
  assert.equal(page, withReference(page));
});

test('the man page is that of this command line: npm run docs', () => {
  assert.equal(read('man/bucketdisk.1'), manPage());
});
