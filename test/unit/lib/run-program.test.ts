/** Running the system's programs with a deadline. */
import assert from 'node:assert/strict';
import { closeSync, openSync } from 'node:fs';
import { test } from 'node:test';
import { isStorageError } from '../../../src/lib/errors.ts';
import { findProgram, runProgram } from '../../../src/lib/run-program.ts';

const timeoutMs = 30_000;

test('tells what the program said', async () => {
  assert.deepEqual(
    await runProgram('sh', ['-c', 'echo out; echo err >&2; echo "  and more" >&2; exit 3'], { timeoutMs }),
    {
      code: 3,
      stdout: 'out\n',
      stderr: 'err and more',
    },
  );
});

test('speaks English, in a directory that is always there', async () => {
  const { stdout } = await runProgram('sh', ['-c', 'echo $LC_ALL; pwd'], { timeoutMs });
  assert.equal(stdout, 'C\n/\n');
});

test('hands a descriptor over', async () => {
  const fd = openSync('/dev/zero', 'r');
  try {
    const { stdout } = await runProgram('sh', ['-c', 'readlink /proc/self/fd/3'], { timeoutMs, fd });
    assert.equal(stdout, '/dev/zero\n');
  } finally {
    closeSync(fd);
  }
});

test('a program that is not there', async () => {
  assert.equal(findProgram('no-such-program'), null);
  await assert.rejects(runProgram('no-such-program', [], { timeoutMs }), (error) =>
    isStorageError(error, 'UNSUPPORTED'),
  );
});

test('is not waited for beyond the deadline, nor once nobody wants it', async () => {
  await assert.rejects(runProgram('sleep', ['1000'], { timeoutMs: 20 }), (error) => isStorageError(error, 'TIMEOUT'));
  const abort = new AbortController();
  const running = runProgram('sleep', ['1000'], { timeoutMs, signal: abort.signal });
  abort.abort();
  await assert.rejects(running, (error) => isStorageError(error, 'CANCELLED'));
  await assert.rejects(runProgram('true', [], { timeoutMs, signal: abort.signal }), (error) =>
    isStorageError(error, 'CANCELLED'),
  );
});
