/** A step of mounting: its deadline, and what it says where it fails. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { runStep, type Step } from '../../../src/host/step.ts';

const step = (script: string, more: Partial<Step> = {}): Step => ({
  what: 'attach the thing',
  program: 'sh',
  args: ['-c', script],
  timeoutMs: 60_000,
  advice: 'call somebody',
  ...more,
});

describe('a step', () => {
  test('that goes well gives what the program said', async () => {
    assert.equal((await runStep(step('echo there'))).stdout.trim(), 'there');
    assert.equal((await runStep(step('exit 2', { okCodes: [2] }))).code, 2);
  });

  test('that fails says what it was, what the program said, and what to do', async () => {
    await assert.rejects(runStep(step('echo no such thing >&2; exit 1')), {
      code: 'INVALID',
      message: /^cannot attach the thing: no such thing: call somebody$/,
    });
    await assert.rejects(runStep(step('exit 3')), {
      message: /^cannot attach the thing: sh ended with 3: call somebody$/,
    });
    await assert.rejects(runStep(step('kill -9 $$')), { message: /sh ended with a signal: call somebody$/ });
  });

  test('whose program is not there says so', async () => {
    await assert.rejects(runStep(step('', { program: 'no-such-program' })), {
      code: 'UNSUPPORTED',
      message: /^cannot attach the thing: .*no-such-program.*: call somebody$/,
    });
  });

  test('that takes too long is ended, and so is one that is called off', async () => {
    await assert.rejects(runStep(step('exec sleep 600', { timeoutMs: 50 })), {
      code: 'TIMEOUT',
      message: /: call somebody$/,
    });
    await assert.rejects(runStep(step('exec sleep 600', { signal: AbortSignal.timeout(50) })), {
      code: 'CANCELLED',
      message: /: call somebody$/,
    });
  });
});
