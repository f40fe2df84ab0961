/** The state directory: one appliance at a time, and an identity that no copy of it shares. */
import assert from 'node:assert/strict';
import { cp, mkdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { StateDir } from '../../../src/lib/state-dir.ts';
import { tempDir } from '../../support/temp.ts';

describe('the state directory', () => {
  test('is made for its owner alone, and is held by one at a time', async (t) => {
    const path = join(await tempDir(t, 'state'), 'new', 'dir');
    assert.equal(StateDir.instanceAt(path), null);
    const first = new StateDir(path);
    assert.equal((await stat(path)).mode & 0o777, 0o700);
    assert.equal(first.tryHold(), true);
    const instance = first.instance();
    first.close();
    assert.equal(StateDir.instanceAt(path), instance);
    const second = new StateDir(path);
    assert.equal(second.tryHold(), true);
    assert.equal(second.instance(), instance, 'after a restart it is the same appliance');
    second.close();
  });

  test('has another identity where it is a copy, or where its lock was replaced: both may run', async (t) => {
    const dir = await tempDir(t, 'state');
    const first = new StateDir(join(dir, 'first'));
    const instance = first.instance();
    await cp(join(dir, 'first'), join(dir, 'copy'), { recursive: true });
    const copy = new StateDir(join(dir, 'copy'));
    assert.notEqual(copy.instance(), instance);
    copy.close();
    // While `first` has it open, its file is not used again for another.
    await rm(join(dir, 'first', 'lock'));
    const second = new StateDir(join(dir, 'first'));
    assert.notEqual(second.instance(), instance);
    second.close();
    first.close();
  });

  test('makes a new identity where the old one is damaged, and keeps it', async (t) => {
    const path = await tempDir(t, 'state');
    const dir = new StateDir(path);
    for (const text of ['', 'x', '../../etc/passwd', '0'.repeat(35)]) {
      await writeFile(join(path, 'instance'), text);
      const instance = dir.instance();
      assert.match(instance, /^[0-9a-f-]{36}\//);
      assert.equal(dir.instance(), instance);
      assert.match(await readFile(join(path, 'instance'), 'utf8'), /^[0-9a-f-]{36}\n$/);
    }
    dir.close();
  });

  test('that cannot be used says which and why', async (t) => {
    const dir = await tempDir(t, 'state');
    await writeFile(join(dir, 'file'), '');
    assert.throws(() => new StateDir(join(dir, 'file')), {
      code: 'INVALID',
      message: /file \(cache\.dir\): it is no directory/,
    });
    // Where mkdir's own way of making a whole path never ends.
    assert.throws(() => new StateDir('/proc/nowhere/state'), { code: 'INVALID', message: /ENOENT/ });
    await mkdir(join(dir, 'odd', 'instance'), { recursive: true });
    const odd = new StateDir(join(dir, 'odd'));
    assert.throws(() => odd.instance(), {
      code: 'INVALID',
      message: /odd \(cache\.dir\): illegal operation on a directory \(EISDIR\)/,
    });
    odd.close();
  });
});
