/** Other programs: run to their end or beside the test, and never longer. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { runCommand, startProcess } from '../../support/run-command.ts';

test('a command’s output and code', async () => {
  const result = await runCommand('sh', ['-c', 'cat; echo err >&2; exit 3'], { input: 'in', okCodes: [3] });
  assert.deepEqual(result, { code: 3, signal: null, stdout: 'in', stderr: 'err\n' });
});

test('a code that was not expected is told with the output', async () => {
  await assert.rejects(runCommand('sh', ['-c', 'echo why >&2; exit 4']), /ended with 4\nwhy/);
  assert.equal((await runCommand('false', [], { okCodes: null })).code, 1);
});

test('a program that is not there is told by name', async () => {
  await assert.rejects(
    runCommand('bucketdisk-no-such-program', []),
    /bucketdisk-no-such-program .*could not be started/,
  );
});

test('a command that takes too long is killed with all it started', async () => {
  // The shell's child holds the output open: this only ends when both are gone.
  await assert.rejects(runCommand('sh', ['-c', 'sleep 600 & wait'], { timeoutMs: 100 }), /took longer than 100 ms/);
});

test('the environment can be added to and taken from', async () => {
  const env = { BUCKETDISK_ADDED: 'yes', HOME: undefined };
  const { stdout } = await runCommand('sh', ['-c', 'echo "$BUCKETDISK_ADDED"; env | grep -c ^HOME='], {
    env,
    okCodes: [1],
  });
  assert.equal(stdout, 'yes\n0\n');
});

test('a program beside the test can be waited for by what it says', async (t) => {
  const running = startProcess(t, 'sh', ['-c', 'echo one; read line; echo two']);
  assert.equal(await running.until('a line', () => /^one$/m.exec(running.stdout)?.[0]), 'one');
  await assert.rejects(
    running.until('never', () => undefined),
    /it ended before never/,
  );
  assert.equal((await running.exited).stdout, 'one\ntwo\n');
});

test('waiting for a program has an end', async (t) => {
  const running = startProcess(t, 'sleep', ['600']);
  await assert.rejects(
    running.until('never', () => undefined, 20),
    /20 ms passed before never/,
  );
  assert.ok(running.running);
});

test('one that will not stop is killed', async (t) => {
  const running = startProcess(t, 'sh', ['-c', "trap '' TERM; echo ready; while :; do sleep 0.05; done"]);
  await running.until('ready', () => running.stdout.includes('ready') || undefined);
  const { signal } = await running.stop('SIGTERM', 100);
  assert.equal(signal, 'SIGKILL');
});

test('it is gone when the test is', async (t) => {
  let pid = 0;
  await t.test('inner', (inner) => {
    pid = startProcess(inner, 'sleep', ['600']).pid;
    process.kill(pid, 0);
  });
  assert.throws(() => process.kill(pid, 0), { code: 'ESRCH' });
});
