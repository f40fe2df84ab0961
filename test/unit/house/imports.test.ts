/** The parts of the house know of each other only what they may. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { importCycle, importViolations } from './import-rules.ts';
import { importsOf, readFiles } from './source-files.ts';

const source = readFiles('src');

test('imports run one way', () => {
  assert.ok(source.length > 50, 'the source was found');
  assert.deepEqual(importViolations(source), []);
});

test('no imports run in a circle', () => {
  assert.equal(importCycle(source), null);
});

test('every import of ours names a file that is there', () => {
  const paths = new Set(source.map((file) => file.path));
  const dangling = source.flatMap((file) =>
    importsOf(file)
      .filter(({ target }) => target.endsWith('.ts') && !paths.has(target))
      .map(({ target }) => `${file.path} imports ${target}`),
  );
  assert.deepEqual(dangling, []);
});

describe('the check itself', () => {
  const violations = (path: string, text: string): string[] => importViolations([{ path, text }]);

  test('finds every way to import', () => {
    const text = `
      import { a } from './a.ts';
      import type { B } from '../b/b.ts';
      import {
        c,
        type D,
      } from "./c.ts";
      import './d.ts';
      export { e } from './e.ts';
      export * from './f.ts';
      export type { G } from './g.ts';
      const h = await import('./h.ts');
      import net from 'node:net';
      /* import { no } from './comment.ts'; */
      const text = "no import from './string.ts'";`;
    const found = importsOf({ path: 'x/y.ts', text }).map(({ target, typeOnly }) =>
      typeOnly ? `type ${target}` : target,
    );
    const expected = [
      'x/a.ts',
      'type b/b.ts',
      'x/c.ts',
      'x/e.ts',
      'x/f.ts',
      'type x/g.ts',
      'node:net',
      'x/d.ts',
      'x/h.ts',
    ];
    assert.deepEqual(found, expected);
  });

  test('finds an import up the house, types included', () => {
    assert.deepEqual(violations('object/x.ts', "import { a } from '../layout/layout.ts';"), [
      'object/x.ts must not import layout/layout.ts',
    ]);
    assert.equal(violations('lib/x.ts', "import type { A } from '../object/object-store.ts';").length, 1);
    assert.equal(violations('config/x.ts', "import { a } from '../volume/volume.ts';").length, 1);
    assert.equal(violations('cli/x.ts', "import { a } from '../volume/volume.ts';").length, 1);
    assert.equal(violations('main.ts', "import { a } from './lib/errors.ts';").length, 1);
    assert.equal(violations('unheard/x.ts', '').length, 1);
  });

  test('lets NBD see the device and nothing else of a volume', () => {
    assert.deepEqual(violations('nbd/x.ts', "import type { A } from '../volume/block-device.ts';"), []);
    assert.equal(violations('nbd/x.ts', "import type { A } from '../volume/volume.ts';").length, 1);
  });

  test('tells types from values where only types may be had', () => {
    assert.deepEqual(violations('admin/x.ts', "import type { A } from '../config/settings.ts';"), []);
    assert.equal(violations('admin/x.ts', "import { a } from '../config/settings.ts';").length, 1);
  });

  test('finds a way out of the process where there must be none', () => {
    assert.equal(violations('nbd/session.ts', "import { connect } from 'node:net';").length, 1);
    assert.equal(violations('layout/blocks/x.ts', "import { open } from 'node:fs/promises';").length, 1);
    assert.deepEqual(violations('nbd/server.ts', "import { createServer } from 'node:net';"), []);
    assert.deepEqual(violations('layout/blocks/x.ts', "import { createHash } from 'node:crypto';"), []);
  });

  test('finds a circle, and none where a type closes it', () => {
    const a = { path: 'lib/a.ts', text: "import { b } from './b.ts';" };
    const b = { path: 'lib/b.ts', text: "import { c } from './c.ts';" };
    const back = { path: 'lib/c.ts', text: "export { a } from './a.ts';" };
    assert.deepEqual(importCycle([a, b, back]), ['lib/a.ts', 'lib/b.ts', 'lib/c.ts', 'lib/a.ts']);
    assert.equal(importCycle([a, b, { path: 'lib/c.ts', text: "export type { A } from './a.ts';" }]), null);
  });
});
