/** The habits of the house that no linter knows. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { readFiles } from './source-files.ts';
import { headerViolations, sourceViolations, textViolations } from './style-rules.ts';

const source = readFiles('src');
const tests = readFiles('test').filter(({ path }) => path !== 'unit/house/style.test.ts');

test('the source keeps to the habits of the house', () => {
  assert.deepEqual(sourceViolations(source), []);
});

test('every file opens with a sentence that says what it is', () => {
  assert.deepEqual(headerViolations([...source, ...tests]), []);
});

test('nothing is left unfinished, and nothing points outside of the project', () => {
  const texts = [
    ...readFiles('.', '*.{md,json,yml,yaml}'),
    ...readFiles('docs', '**/*.md'),
    ...readFiles('config', '**/*'),
    ...readFiles('.ci', '*'),
  ];
  assert.deepEqual(textViolations([...source, ...tests, ...texts]), []);
});

describe('the check itself', () => {
  const file = (text: string, path = 'nbd/x.ts') => [{ path, text }];

  test('finds what is against the habits', () => {
    const text = [
      'export default x;',
      'process.exit(1);',
      'const home = process.env.HOME;',
      'let count = 0;',
      'const all = Buffer.concat(chunks);',
      "console.log('x');",
    ].join('\n');
    assert.deepEqual(sourceViolations(file(text)), [
      'nbd/x.ts:1 has a default export',
      'nbd/x.ts:2 ends the process',
      'nbd/x.ts:3 reads the environment',
      'nbd/x.ts:4 keeps state in a module',
      'nbd/x.ts:5 copies data with Buffer.concat',
      'nbd/x.ts:6 writes to the console',
    ]);
    assert.deepEqual(sourceViolations(file('process.exit(1);', 'main.ts')), []);
    assert.deepEqual(sourceViolations(file('Buffer.concat(x);', 'object/x.ts')), []);
    assert.deepEqual(sourceViolations(file('\n'.repeat(501))), ['nbd/x.ts is longer than 500 lines']);
  });

  test('finds a missing header', () => {
    assert.deepEqual(headerViolations(file('import x;')), ['nbd/x.ts does not open with a header comment']);
    assert.deepEqual(headerViolations(file('/** Says what it is. */\n')), []);
    assert.deepEqual(headerViolations(file('#!/usr/bin/env node\n/**\n * Says what it is.\n */\n')), []);
  });

  test('finds unfinished parts and foreign paths', () => {
    assert.equal(textViolations(file('// TODO: later')).length, 1);
    assert.equal(textViolations(file(`const dir = '/${'home'}/me/x';`)).length, 1);
    assert.deepEqual(textViolations(file('/var/lib/bucketdisk, framework/x')), []);
  });
});
