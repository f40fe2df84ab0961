/** The command line: what reaches the actions, what is printed where, and with which exit code it ends. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type {
  Actions,
  CommandContext,
  EraseOptions,
  ServeOptions,
  VolumeDescription,
} from '../../../src/cli/actions.ts';
import { type ErrorCode, StorageError } from '../../../src/lib/errors.ts';
import { FakeHost, runCommand } from './fake-host.ts';

const DESCRIPTION: VolumeDescription = {
  name: 'demo',
  url: 'file:///nowhere/data/bucket/demo/',
  sizeBytes: 2 ** 30,
  blockSizeBytes: 2 ** 20,
  layout: 'blocks',
  durability: 's3',
  compress: 'zstd',
  encryption: null,
  readOnly: false,
  sharedDisk: false,
};

function failing(error: unknown): Partial<Actions> {
  return { createVolume: () => Promise.reject(error) };
}

describe('exit codes', () => {
  it('tell scripts what went wrong', async () => {
    const expected: Record<ErrorCode, number> = {
      NOT_FOUND: 10,
      HELD: 11,
      FENCED: 11,
      ACCESS_DENIED: 12,
      INVALID: 2,
      CANCELLED: 130,
      CONFLICT: 1,
      CORRUPT: 1,
      TIMEOUT: 1,
      UNAVAILABLE: 1,
      NO_SPACE: 1,
      READ_ONLY: 1,
      UNSUPPORTED: 1,
    };
    for (const [code, exitCode] of Object.entries(expected)) {
      const error = new StorageError(code as ErrorCode, 'the message');
      const outcome = await runCommand('create demo', new FakeHost({ actions: failing(error) }));
      assert.deepEqual(outcome, { exitCode, stdout: '', stderr: 'bucketdisk: the message\n' }, code);
    }
  });

  it('are those of usage where the command line is wrong', async () => {
    for (const words of [
      '',
      'srve',
      'create',
      'create a b',
      'status --bogus',
      'config',
      'resize demo 10g',
      '--log-level loud status',
    ]) {
      const outcome = await runCommand(words);
      assert.equal(outcome.exitCode, 2, words);
      assert.equal(outcome.stdout, '', words);
      assert.notEqual(outcome.stderr, '', words);
    }
    assert.match(
      (await runCommand('srve')).stderr,
      /^bucketdisk: unknown command 'srve' \(Did you mean serve\?\) \(see bucketdisk --help\)\n$/,
    );
    for (const [words, help] of [
      ['serve more', 'serve --help'],
      ['resize demo', 'resize --help'],
      ['mount demo /mnt --fs ext5', 'mount --help'],
      ['config shwo', 'config --help'],
      ['job run', 'job run --help'],
    ] as const) {
      assert.match((await runCommand(words)).stderr, new RegExp(`\\(see bucketdisk ${help}\\)\n$`));
    }
  });

  it('are 0 for help and version', async () => {
    for (const words of ['--help', 'help serve', 'serve --help', 'config show --help', 'version', '--version']) {
      const outcome = await runCommand(words);
      assert.equal(outcome.exitCode, 0, words);
      assert.notEqual(outcome.stdout, '', words);
      assert.equal(outcome.stderr, '', words);
    }
  });
});

describe('help', () => {
  it('of each verb has an example and the exit codes where they matter', async () => {
    for (const verb of ['serve', 'create', 'status', 'health', 'resize', 'erase', 'config validate']) {
      const { stdout } = await runCommand(`${verb} --help`);
      assert.match(stdout, new RegExp(`Examples:\\n  bucketdisk ${verb}`), verb);
      assert.match(stdout, /Exit codes:/, verb);
      assert.match(stdout, /--config <file>/, verb);
    }
  });
});

describe('errors', () => {
  it('keep to one line, without the stack, also where the message has several', async () => {
    const error = new StorageError('UNAVAILABLE', 'first\nsecond\x1b[2J', { cause: new Error('the cause') });
    const { stderr } = await runCommand('create demo', new FakeHost({ actions: failing(error) }));
    assert.equal(stderr, 'bucketdisk: first\\nsecond\\u001b[2J\n');
  });

  it('tell their causes when asked', async () => {
    const error = new StorageError('UNAVAILABLE', 'no answer', {
      cause: new StorageError('TIMEOUT', 'late', { cause: new Error('x') }),
    });
    const { stderr } = await runCommand('create demo --log-level debug', new FakeHost({ actions: failing(error) }));
    assert.equal(stderr, 'bucketdisk: no answer\n  caused by: TIMEOUT late\n  caused by: x\n');
  });

  it('of ours are told as such, with the stack only when asked', async () => {
    const host = () => new FakeHost({ actions: failing(new TypeError('x is undefined')) });
    const quiet = await runCommand('create demo', host());
    assert.equal(quiet.exitCode, 1);
    assert.match(quiet.stderr, /^bucketdisk: internal error: x is undefined .*\n$/);
    assert.match((await runCommand('create demo --log-level debug', host())).stderr, /run\.test\.ts/);
  });

  it('are one object on stdout with --json', async () => {
    const denied = await runCommand(
      'create demo --json',
      new FakeHost({ actions: failing(new StorageError('ACCESS_DENIED', 'no')) }),
    );
    assert.deepEqual(JSON.parse(denied.stdout), { error: { code: 'ACCESS_DENIED', message: 'no' } });
    assert.equal(denied.exitCode, 12);
    const usage = await runCommand('--json create demo --bogus');
    assert.equal(JSON.parse(usage.stdout).error.code, 'USAGE');
    const config = JSON.parse((await runCommand('config validate --json --set a.b=1 --set log.level=x')).stdout);
    assert.equal(config.error.code, 'INVALID');
    assert.deepEqual(
      config.error.problems.map((problem: { path: string }) => problem.path),
      ['a.b', 'log.level'],
    );
  });
});

describe('config', () => {
  it('shows every setting, sources when asked, never a secret', async () => {
    const host = new FakeHost({ env: { BUCKETDISK_LOG_LEVEL: 'debug' } });
    const words = 'config show --sources --set store.accessKeyId=AKIAEXAMPLE --set store.secretAccessKey=topsecret';
    const { stdout, exitCode } = await runCommand(words, host);
    assert.equal(exitCode, 0);
    assert.match(stdout, /^log\.level +"debug" +BUCKETDISK_LOG_LEVEL$/m);
    assert.match(stdout, /^store\.secretAccessKey +"\*\*\*" +--set store\.secretAccessKey$/m);
    assert.match(stdout, /^volumes\.demo\.size +"1GiB" +config\/default\.json5:\d+$/m);
    assert.doesNotMatch(stdout, /AKIA|topsecret/);
    assert.doesNotMatch((await runCommand('config show')).stdout, /default\.json5/);
  });

  it('shows a stable shape as JSON, also of volumes with odd names', async () => {
    const words = 'config show --sources --json --set volumes.constructor.size=1GiB';
    const { settings, sources } = JSON.parse((await runCommand(words)).stdout);
    assert.equal(settings.volumes.constructor.size, '1GiB');
    assert.equal(settings.store.region, 'us-east-1');
    assert.equal(sources['volumes.constructor.size'], '--set volumes.constructor.size');
    assert.deepEqual(Object.keys(JSON.parse((await runCommand('config show --json')).stdout)), ['settings']);
  });

  it('validate exits 0 with a summary and 2 with every problem', async () => {
    const good = await runCommand('config validate');
    assert.equal(good.exitCode, 0);
    assert.match(good.stdout, /^ok: 1 volume \(demo\) in file:\/\/\/nowhere\/data\/bucket/);
    const bad = await runCommand('config validate --set x=1 --set log.level=loud');
    assert.equal(bad.exitCode, 2);
    assert.equal(bad.stdout, '');
    assert.match(
      bad.stderr,
      /has 2 errors:\n {2}x: unknown setting.*\n {2}log\.level: .*"loud".*\[--set log\.level\]\n$/,
    );
  });
});

describe('verbs', () => {
  it('pass on what they were given, and print the answer', async () => {
    const calls: unknown[] = [];
    const actions: Partial<Actions> = {
      async createVolume(context, name, options) {
        calls.push(['create', context.settings.log.level, name, options]);
        return DESCRIPTION;
      },
      async resizeVolume(_context, name, sizeBytes, { force }) {
        calls.push(['resize', name, sizeBytes, { force }]);
        return { name, oldSizeBytes: 2 ** 30, newSizeBytes: sizeBytes, deletedBlocks: 3 };
      },
    };
    const created = await runCommand('--log-level warn create demo --force', new FakeHost({ actions }));
    assert.match(created.stdout, /^created demo: 1 GiB in blocks of 1MiB, zstd, not encrypted\n {2}at file:/);
    const json = await runCommand('create demo --json', new FakeHost({ actions }));
    assert.deepEqual(JSON.parse(json.stdout), DESCRIPTION);
    const resized = await runCommand('resize demo 512MiB --force', new FakeHost({ actions }));
    assert.equal(
      resized.stdout,
      'resized demo from 1GiB to 512MiB, 3 blocks beyond the new end deleted\n' +
        '  now set volumes.demo.size to "512MiB": it is 1GiB in the configuration\n',
    );
    const same = await runCommand(
      'resize demo 1GiB',
      new FakeHost({
        actions: {
          async resizeVolume(_context, name) {
            return { name, oldSizeBytes: 2 ** 30, newSizeBytes: 2 ** 30, deletedBlocks: 0 };
          },
        },
      }),
    );
    assert.equal(same.stdout, 'demo is 1GiB already\n');
    assert.deepEqual(calls, [
      ['create', 'warn', 'demo', { force: true }],
      ['create', 'info', 'demo', { force: false }],
      ['resize', 'demo', 2 ** 29, { force: true }],
    ]);
  });

  it('know only configured volumes', async () => {
    for (const words of [
      'create nope',
      'resize nope 1GiB',
      'erase nope --yes nope',
      'serve --take-over nope',
      'create constructor',
    ]) {
      const { exitCode, stderr } = await runCommand(words);
      assert.equal(exitCode, 10, words);
      assert.match(stderr, /is not configured \(configured: demo\)/, words);
    }
  });

  it('leave the chatter of a server out of the log, unless it is asked for', async () => {
    const actions: Partial<Actions> = {
      async createVolume({ log }) {
        log.info('chatter');
        log.warn('trouble');
        return DESCRIPTION;
      },
    };
    const quiet = await runCommand('create demo', new FakeHost({ actions }));
    assert.match(quiet.stderr, /^\{.*"trouble"\}\n$/);
    const loud = await runCommand('create demo --log-level info', new FakeHost({ actions }));
    assert.match(loud.stderr, /"chatter"\}\n.*"trouble"/);
  });
});

describe('erase', () => {
  const erasing = (erased: string[]): Partial<Actions> => ({
    async eraseVolume(_context: CommandContext, name: string, { onProgress }: EraseOptions) {
      onProgress({ unit: 'objects', done: 1, total: 2 });
      erased.push(name);
      return { name, url: 'file:///x/', deletedObjects: 2 };
    },
  });

  it('needs the name a second time', async () => {
    const erased: string[] = [];
    const host = () => new FakeHost({ actions: erasing(erased) });
    const without = await runCommand('erase demo', host());
    assert.equal(without.exitCode, 2);
    assert.match(without.stderr, /--yes demo/);
    assert.equal((await runCommand('erase demo --yes dmo', host())).exitCode, 2);
    assert.deepEqual(erased, []);
    const done = await runCommand('erase demo --yes demo', host());
    assert.equal(done.stdout, 'erased demo: 2 objects deleted at file:///x/\n');
    assert.deepEqual(erased, ['demo']);
  });

  it('asks for it on a terminal', async () => {
    for (const [typed, exitCode] of [
      ['demo\n', 0],
      ['yes\n', 2],
      ['\n', 2],
      [null, 2],
    ] as const) {
      const erased: string[] = [];
      const host = new FakeHost({ actions: erasing(erased), isTTY: true });
      if (typed === null) host.stdin.end();
      else host.stdin.write(typed);
      const outcome = await runCommand('erase demo', host);
      assert.equal(outcome.exitCode, exitCode, String(typed));
      assert.match(outcome.stderr, /Type its name to go on/);
      assert.deepEqual(erased, exitCode === 0 ? ['demo'] : []);
    }
  });

  it('does nothing when interrupted at the question', async () => {
    const erased: string[] = [];
    const host = new FakeHost({ actions: erasing(erased), isTTY: true });
    const running = runCommand('erase demo', host);
    while (!host.stderr.text.includes('Type its name')) await new Promise(setImmediate);
    host.signals.emit('SIGINT');
    assert.equal((await running).exitCode, 130);
    assert.deepEqual(erased, []);
  });

  it('does nothing when ^C is typed as the answer', async () => {
    const erased: string[] = [];
    const host = new FakeHost({ actions: erasing(erased), isTTY: true });
    host.stdin.write('dem\x03');
    const outcome = await runCommand('erase demo', host);
    assert.equal(outcome.exitCode, 130);
    assert.match(outcome.stderr, /\nbucketdisk: interrupted: nothing was deleted\n$/);
    assert.deepEqual(erased, []);
  });
});

describe('signals', () => {
  function serving(act: (context: CommandContext, options: ServeOptions) => Promise<number>) {
    const started = Promise.withResolvers<{ context: CommandContext; options: ServeOptions }>();
    const actions: Partial<Actions> = {
      serve(context, options) {
        started.resolve({ context, options });
        return act(context, options);
      },
    };
    const host = new FakeHost({ actions });
    return { host, started: started.promise };
  }

  const aborted = (signal: AbortSignal) =>
    new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve()));

  it('stop a server gracefully, and its exit code is the answer', async () => {
    const { host, started } = serving(async (context, { stop }) => {
      await aborted(stop);
      assert.equal(context.signal.aborted, false);
      return 0;
    });
    const running = runCommand('serve --take-over demo', host);
    const { options } = await started;
    assert.deepEqual(options.takeOver, ['demo']);
    host.signals.emit('SIGTERM');
    assert.equal((await running).exitCode, 0);
    assert.equal(host.signals.listenerCount('SIGTERM') + host.signals.listenerCount('SIGINT'), 0);
  });

  it('hurry a server the second time, and leave it the third time', async () => {
    const hurried = serving(async (context) => {
      await aborted(context.signal);
      return 0;
    });
    const first = runCommand('serve', hurried.host);
    await hurried.started;
    hurried.host.signals.emit('SIGTERM');
    hurried.host.signals.emit('SIGINT');
    assert.equal((await first).exitCode, 0);

    const stuck = serving(() => new Promise(() => undefined));
    const second = runCommand('serve', stuck.host);
    await stuck.started;
    for (let n = 0; n < 3; n++) stuck.host.signals.emit('SIGINT');
    const outcome = await second;
    assert.equal(outcome.exitCode, 130);
    assert.equal(outcome.stderr, 'bucketdisk: interrupted by SIGINT\n');
  });

  it('have a server read its credentials again on SIGHUP, unless that means that its terminal has gone', async () => {
    for (const isTTY of [false, true]) {
      const begun = Promise.withResolvers<ServeOptions>();
      const actions: Partial<Actions> = {
        async serve(_context, options) {
          begun.resolve(options);
          await aborted(options.stop);
          return 0;
        },
      };
      const host = new FakeHost({ actions, isTTY });
      const running = runCommand('serve', host);
      const { onReload, stop } = await begun.promise;
      let reloads = 0;
      onReload?.(() => {
        reloads++;
      });
      for (let n = 0; n < 4 && !stop.aborted; n++) host.signals.emit('SIGHUP');
      assert.deepEqual([reloads, stop.aborted], isTTY ? [0, true] : [4, false]);
      if (!stop.aborted) host.signals.emit('SIGTERM');
      assert.equal((await running).exitCode, 0);
    }
  });

  it('cancel any other verb at once', async () => {
    const begun = Promise.withResolvers<void>();
    const actions: Partial<Actions> = {
      async createVolume({ signal }) {
        begun.resolve();
        await aborted(signal);
        throw signal.reason;
      },
    };
    const host = new FakeHost({ actions });
    const running = runCommand('create demo', host);
    await begun.promise;
    host.signals.emit('SIGINT');
    assert.equal((await running).exitCode, 130);
  });
});

describe('mount', () => {
  it('takes the way to the block device and the filesystem to make, and an absolute directory', async () => {
    const asked: unknown[] = [];
    const mountVolume: Actions['mountVolume'] = async (_context, name, dir, { fs, via }) => {
      asked.push({ name, dir, fs, via });
      return 0;
    };
    const env = { BUCKETDISK_VOLUMES: '{ demo: { size: "1GiB" } }' };
    const run = (words: string) =>
      runCommand(words, new FakeHost({ actions: { mountVolume }, env, cwd: '/somewhere' }));
    assert.equal((await run('mount demo mnt')).exitCode, 0);
    assert.equal((await run('mount demo /mnt --via nbd --fs xfs')).exitCode, 0);
    assert.equal((await run('mount demo /mnt --via iscsi')).exitCode, 2);
    assert.equal((await run('mount demo /mnt --fs ntfs')).exitCode, 2);
    assert.equal((await run('mount nope /mnt')).exitCode, 10);
    assert.deepEqual(asked, [
      { name: 'demo', dir: '/somewhere/mnt', fs: null, via: 'auto' },
      { name: 'demo', dir: '/mnt', fs: 'xfs', via: 'nbd' },
    ]);
  });
});
