/** Completion in the shells it is for, and the man page as man and mandoc read it. */
import assert from 'node:assert/strict';
import { mkdir, writeFile } from 'node:fs/promises';
import { delimiter, join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { fileURLToPath } from 'node:url';
import { runCommand } from '../support/run-command.ts';
import { tempDir } from '../support/temp.ts';
import { requireTools, toolPath } from '../support/tools.ts';

const TIMEOUT_MS = 240_000;
const MAIN = fileURLToPath(new URL('../../src/main.ts', import.meta.url));
const MAN_PAGE = fileURLToPath(new URL('../../docs/man/bucketdisk.1', import.meta.url));

type Shell = 'bash' | 'zsh' | 'fish';

interface Playground {
  readonly dir: string;
  readonly script: string;
  /** With a `bucketdisk` on it that is the real one. */
  readonly env: Readonly<Record<string, string>>;
}

async function playground(t: TestContext, shell: Shell): Promise<Playground> {
  const dir = await tempDir(t, 'shell');
  await mkdir(join(dir, 'bin'));
  await mkdir(join(dir, 'mount-here'));
  const config = { volumes: { media: { size: '1GiB' }, backup: { size: '1GiB', url: 'file:b' } } };
  await writeFile(join(dir, 'two.json5'), JSON.stringify(config));
  await writeFile(join(dir, 'bin', 'bucketdisk'), `#!/bin/sh\nexec '${process.execPath}' '${MAIN}' "$@"\n`, {
    mode: 0o755,
  });
  const env = { PATH: `${join(dir, 'bin')}${delimiter}${process.env.PATH ?? ''}`, HOME: dir };
  const { stdout } = await runCommand(process.execPath, [MAIN, 'completion', shell]);
  const script = join(dir, `completion.${shell}`);
  await writeFile(script, stdout);
  return { dir, script, env };
}

/** What is offered for the last of the words. */
async function complete(shell: Shell, { dir, script, env }: Playground, words: readonly string[]): Promise<string[]> {
  const { stdout, stderr } = await runCommand(toolPath(shell), argumentsFor(shell, script, words), { cwd: dir, env });
  assert.equal(stderr, '');
  // fish tells what each means after a tab, zsh after a colon, and directories have a slash at their ends.
  const found = stdout.split('\n').map((line) => line.replace(/\t.*|(?<=^[\w-]+):.*/, '').replace(/\/$/, ''));
  return found.filter((word) => word !== '').sort();
}

function argumentsFor(shell: Shell, script: string, words: readonly string[]): string[] {
  if (shell === 'fish') return ['--no-config', '-c', `source '${script}'; complete -C '${words.join(' ')}'`];
  if (shell === 'bash') {
    const run = `source "$0"; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _bucketdisk "$1"; printf '%s\\n' "\${COMPREPLY[@]}"`;
    return ['--norc', '-c', run, script, ...words];
  }
  // Its editor needs a terminal; what it would be told is printed in its place.
  const run = `compdef() { : }; compadd() { print -l -- \${(P)2} }; _describe() { print -l -- \${(P)2} }; _files() { print -l *(/) }
    source "$0"; words=("$@"); CURRENT=$#; _bucketdisk`;
  return ['-f', '-c', run, script, ...words];
}

for (const shell of ['bash', 'zsh', 'fish'] as const) {
  describe(`completion in ${shell}`, { timeout: TIMEOUT_MS }, () => {
    it('offers verbs, options, volumes, files and directories', async (t) => {
      if (!requireTools(t, [shell])) return;
      const ground = await playground(t, shell);
      const offered = (...words: string[]): Promise<string[]> => complete(shell, ground, ['bucketdisk', ...words]);
      const starting = async (prefix: string, ...words: string[]): Promise<string[]> =>
        (await offered(...words, prefix)).filter((word) => word.startsWith(prefix));
      for (const verb of ['serve', 'create', 'config', 'doctor', 'completion'])
        assert.ok((await offered('')).includes(verb), verb);
      assert.deepEqual(await starting('', 'config'), ['show', 'validate']);
      assert.deepEqual(await starting('', 'cache'), ['drop', 'export']);
      assert.deepEqual(await starting('', '--config', 'two.json5', 'create'), ['backup', 'media']);
      assert.deepEqual(await starting('m', '-c', 'two.json5', 'cache', 'drop'), ['media']);
      assert.deepEqual(await starting('', '--config', 'two.json5', 'resize', 'media'), []);
      assert.deepEqual(await starting('mount', 'mount', 'media'), ['mount-here']);
      assert.deepEqual(await starting('', 'mount', 'media', '/x', '--fs'), ['btrfs', 'ext4', 'xfs']);
      assert.deepEqual(await starting('', '--log-level'), ['debug', 'error', 'info', 'warn']);
      assert.deepEqual(await starting('--fo', 'create'), ['--force']);
      assert.deepEqual(await starting('--fo', 'status'), []);
    });
  });
}

it('zsh finds its completion by compinit', async (t) => {
  if (!requireTools(t, ['zsh'])) return;
  const { script, env, dir } = await playground(t, 'zsh');
  const run = 'autoload -U compinit; compinit -u -D; source "$0"; print $_comps[bucketdisk]';
  assert.equal(
    (await runCommand(toolPath('zsh'), ['-f', '-c', run, script], { cwd: dir, env })).stdout,
    '_bucketdisk\n',
  );
});

it('man and mandoc have nothing to say against the man page', async (t) => {
  if (!requireTools(t, ['man', 'mandoc'])) return;
  const env = { LC_ALL: 'C.UTF-8', MANWIDTH: '80' };
  const { stdout, stderr } = await runCommand(toolPath('man'), ['--warnings', '-l', MAN_PAGE], { env });
  assert.equal(stderr, '');
  assert.match(stdout, /doctor/);
  const lint = await runCommand(toolPath('mandoc'), ['-T', 'lint', MAN_PAGE], { okCodes: null });
  // Examples are as wide as they are; everything else is to be right.
  const lines = lint.stdout.split('\n').filter((line) => line !== '' && !line.includes('longer than 80 bytes'));
  assert.deepEqual(lines, []);
});
