/** Keys become paths and come back, whatever they are made of. */
import assert from 'node:assert/strict';
import { join, normalize } from 'node:path';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { keyToPath, nameToPiece, splitKey } from '../../../../src/object/file/key-path.ts';

/** Pieces that meet in awkward ways: dots, slashes, escapes, the suffixes, long runs, all of Unicode. */
const keys = fc
  .array(
    fc.oneof(
      fc.constantFrom('/', '.', '..', '%', '%2f', '%25', '+', '=', 'a', 'A', 'é', '\u{1f600}', '\u0000', '\n', ' '),
      fc.constantFrom('x'.repeat(127), 'x'.repeat(128), 'x'.repeat(129), '\u{1f600}'.repeat(11), '='.repeat(43)),
      fc.string({ unit: 'binary', maxLength: 5 }),
    ),
    { minLength: 1, maxLength: 12 },
  )
  .map((parts) => parts.join(''))
  .filter((key) => key !== '' && Buffer.byteLength(key) <= 1024);

function pathToKey(path: ReturnType<typeof keyToPath>): string {
  const pieces = [...path.directories.map((name) => nameToPiece(name, true)), nameToPiece(path.file, false)];
  return pieces.map((piece) => piece?.text ?? assert.fail('a name of ours was not recognised')).join('');
}

describe('paths of keys', () => {
  it('come back as the same key', () => {
    fc.assert(
      fc.property(keys, (key) => assert.equal(pathToKey(keyToPath(key)), key)),
      { numRuns: 2000 },
    );
  });

  it('stay below the directory, out of the private one, with names every file system takes', () => {
    fc.assert(
      fc.property(keys, (key) => {
        const { directories, file } = keyToPath(key);
        const names = [...directories, file];
        for (const name of names) assert.match(name, /^(?!\.)[a-z0-9_.%=+-]{1,143}$/);
        const path = join('/bucket', ...names);
        assert.equal(path, normalize(path));
        assert.ok(path.startsWith('/bucket/') && !path.startsWith('/bucket/.'));
        assert.ok(path.length < 3200);
      }),
      { numRuns: 2000 },
    );
  });

  it('never meet: no file of one key is a directory of another', () => {
    fc.assert(
      fc.property(keys, keys, (a, b) => {
        if (a === b) return;
        const [x, y] = [keyToPath(a), keyToPath(b)].map(({ directories, file }) => [...directories, file].join('/'));
        assert.ok(x !== undefined && y !== undefined);
        assert.notEqual(x, y);
        assert.ok(!x.startsWith(`${y}/`) && !y.startsWith(`${x}/`));
      }),
      { numRuns: 2000 },
    );
  });

  it('put every key with a prefix below the directories of the prefix', () => {
    fc.assert(
      fc.property(keys, fc.nat(), (key, n) => {
        const cut = [...key].slice(0, n % ([...key].length + 1)).join('');
        const { directories, rest } = splitKey(cut);
        assert.equal(directories.map((piece) => piece.text).join('') + rest, cut);
        assert.deepEqual(
          keyToPath(key).directories.slice(0, directories.length),
          directories.map((piece) => piece.name),
        );
      }),
      { numRuns: 2000 },
    );
  });

  it('are plain for plain keys', () => {
    assert.deepEqual(keyToPath('demo/0000001f'), { directories: ['demo'], file: '0000001f=' });
    assert.deepEqual(keyToPath('a//b'), { directories: ['a', '%'], file: 'b=' });
    assert.deepEqual(keyToPath('../x'), { directories: ['%2e.'], file: 'x=' });
  });

  it('ignore names that are not ours', () => {
    for (const name of ['lost+found', '.bucketdisk', 'A', '%2F', '%61', 'a%2fb', '%zz', '%ff', '.', 'é']) {
      assert.equal(nameToPiece(name, true), undefined, name);
    }
    for (const name of ['README', 'a', 'A=', '.x=', '%61=', 'a%2fb=', `${'x'.repeat(128)}=`]) {
      assert.equal(nameToPiece(name, false), undefined, name);
    }
  });
});
