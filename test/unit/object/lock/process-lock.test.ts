/** The lock between processes: exclusive, and gone with its holder. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, mkdtemp, rename, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { ProcessLock } from '../../../../src/lib/process-lock.ts';

describe('ProcessLock', () => {
  let directory: string;
  let path: string;
  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), 'bucketdisk-lock-'));
    path = join(directory, 'lock');
  });
  afterEach(() => rm(directory, { recursive: true }));

  it('lets one holder in', () => {
    const one = new ProcessLock(path);
    const two = new ProcessLock(path);
    assert.equal(one.tryHold(), true);
    assert.equal(one.tryHold(), true);
    assert.equal(two.tryHold(), false);
    assert.throws(() => two.runExclusive(() => assert.fail('entered')), { code: 'UNAVAILABLE', retryable: true });
    one.close();
    assert.equal(two.tryHold(), true);
    two.close();
  });

  it('runs work exclusively and passes on its value and its error', async () => {
    const one = new ProcessLock(path);
    const two = new ProcessLock(path);
    assert.equal(
      one.runExclusive(() => {
        assert.equal(two.tryHold(), false);
        return 42;
      }),
      42,
    );
    assert.throws(
      () =>
        one.runExclusive(() => {
          throw new Error('mine');
        }),
      /mine/,
    );
    assert.equal(two.tryHold(), true);
    one.close();
    two.close();
    assert.equal((await stat(path)).size, 0);
  });

  it('is released by the kernel when its holder is killed', async (t) => {
    const child = spawn(process.execPath, [join(import.meta.dirname, 'hold-child.ts'), path], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    t.after(() => child.kill('SIGKILL'));
    const [output] = await once(child.stdout, 'data');
    assert.equal(String(output), 'held\n');
    const lock = new ProcessLock(path);
    assert.equal(lock.tryHold(), false);
    child.kill('SIGKILL');
    await once(child, 'exit');
    assert.equal(lock.tryHold(), true);
    lock.close();
  });

  it('moves to the new file where its own was removed or replaced', async () => {
    const one = new ProcessLock(path);
    one.runExclusive(() => {});
    const { ino } = await stat(path);
    await rename(path, `${path}.away`);
    const two = new ProcessLock(path);
    assert.equal(two.tryHold(), true);
    assert.notEqual((await stat(path)).ino, ino);
    assert.throws(() => one.runExclusive(() => assert.fail('entered')), { code: 'UNAVAILABLE', retryable: true });
    two.close();
    await rm(path);
    assert.equal(
      one.runExclusive(() => 1),
      1,
    );
    assert.equal((await stat(path)).size, 0);
    one.close();
  });

  it('goes on where its directory went away and came back', async () => {
    const inner = join(directory, 'inner');
    await mkdir(inner);
    const lock = new ProcessLock(join(inner, 'lock'));
    await rename(inner, `${inner}.away`);
    assert.throws(() => lock.runExclusive(() => assert.fail('entered')), { code: 'ACCESS_DENIED' });
    await rename(`${inner}.away`, inner);
    lock.runExclusive(() => {});
    lock.close();
  });

  it('says what is wrong with a path that cannot be locked', async () => {
    assert.throws(() => new ProcessLock(join(directory, 'missing', 'lock')), { code: 'ACCESS_DENIED' });
    await writeFile(path, 'not a lock, but a file of some length '.repeat(30));
    const lock = new ProcessLock(path);
    assert.throws(() => lock.tryHold(), { code: 'INVALID' });
    lock.close();
  });
});
