/** Lines of JSON5 values: whatever the layout of the text, each key is found where it stands. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import JSON5 from 'json5';
import { findLines } from '../../../src/config/json5-lines.ts';

describe('findLines', () => {
  it('passes over comments, strings, lists and signs', () => {
    const text = [
      '/* { a: 1', // 1
      '*/ {', // 2
      "  'a': { // b: 1", // 3
      '    "c\\u0064": [1, { z: 2 }, "}"],', // 4
      "    e: -Infinity, f: 'it\\'s \\", // 5
      "    {g: 1'", // 6
      '    , h: {}', // 7
      '  },', // 8
      '  i: /* x */', // 9
      '    "// no comment",', // 10
      '}', // 11
    ].join('\n');
    JSON5.parse(text);
    assert.deepEqual(Object.fromEntries(findLines(text).lines), {
      a: 3,
      'a.cd': 4,
      'a.e': 5,
      'a.f': 5,
      'a.h': 7,
      i: 9,
    });
  });

  it('finds every key of any value, one line each', () => {
    const key = fc.stringMatching(/^[a-z]{1,8}$/);
    const { tree } = fc.letrec<{ tree: Record<string, unknown> }>((tie) => ({
      tree: fc.dictionary(
        key,
        fc.oneof({ maxDepth: 3 }, fc.string(), fc.double({ noNaN: true }), fc.array(fc.string()), tie('tree')),
      ),
    }));
    fc.assert(
      fc.property(tree, (value) => {
        const text = JSON5.stringify(value, null, 1) ?? '';
        const { lines, duplicates } = findLines(text);
        assert.deepEqual(duplicates, []);
        const rows = text.split('\n');
        const expected: string[] = [];
        const visit = (node: Record<string, unknown>, path: string) => {
          for (const [name, child] of Object.entries(node)) {
            expected.push(path + name);
            assert.match(rows[(lines.get(path + name) ?? 0) - 1] ?? '', new RegExp(`^\\s*'?${name}'?:`));
            if (typeof child === 'object' && child !== null && !Array.isArray(child)) {
              visit(child as Record<string, unknown>, `${path}${name}.`);
            }
          }
        };
        visit(value, '');
        assert.deepEqual([...lines.keys()].sort(), expected.sort());
      }),
    );
  });

  it('ends on any text', () => {
    fc.assert(
      fc.property(fc.string({ unit: fc.constantFrom(...'{}[]:,/*"\'\\ \na1'), maxLength: 200 }), (text) => {
        try {
          findLines(text);
        } catch (error) {
          assert.ok(error instanceof SyntaxError, String(error));
        }
      }),
    );
  });
});
