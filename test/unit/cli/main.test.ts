/** The real process: its exit codes, and the one sentence that a Node too old gets. */
import assert from 'node:assert/strict';
import { execFile, execFileSync } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';

const ROOT = fileURLToPath(new URL('../../..', import.meta.url));
const MAIN = join(ROOT, 'src/main.ts');

interface Outcome {
  readonly exitCode: number;
  readonly stdout: string;
  readonly stderr: string;
}

let dir = '';
before(() => {
  dir = mkdtempSync(join(tmpdir(), 'bucketdisk-main-'));
});
after(() => rmSync(dir, { recursive: true }));

function execute(program: string, args: readonly string[]): Promise<Outcome> {
  const env = { PATH: process.env.PATH, HOME: dir };
  return new Promise((resolve) => {
    execFile(program, args, { cwd: dir, env, timeout: 60_000 }, (error, stdout, stderr) => {
      resolve({ exitCode: error === null ? 0 : Number(error.code ?? -1), stdout, stderr });
    });
  });
}

/** A Node on the PATH that is too old, if there is one. */
function oldNode(): string | undefined {
  return (process.env.PATH ?? '')
    .split(delimiter)
    .map((path) => join(path, 'node'))
    .filter((path) => existsSync(path))
    .find((path) => Number(execFileSync(path, ['--version'], { encoding: 'utf8' }).slice(1).split('.')[0]) < 24);
}

describe('main', () => {
  it('prints its answer and ends with its exit code', async () => {
    const version = await execute(process.execPath, [MAIN, 'version', '--json']);
    assert.equal(version.exitCode, 0, version.stderr);
    assert.equal(JSON.parse(version.stdout).node, process.versions.node);
    const invalid = await execute(process.execPath, [MAIN, 'config', 'validate', '--set', 'log.level=loud']);
    assert.equal(invalid.exitCode, 2);
    assert.match(invalid.stderr, /log\.level/);
  });

  it('loses nothing of a long answer to a pipe', async () => {
    const sets = Array.from({ length: 500 }, (_, n) => ['--set', `volumes.v${n}.size=1GiB`]).flat();
    const { stdout } = await execute(process.execPath, [MAIN, 'config', 'show', '--sources', '--json', ...sets]);
    assert.ok(stdout.length > 500_000);
    assert.equal(Object.keys(JSON.parse(stdout).settings.volumes).length, 500);
  });

  it('refuses a Node that is too old in one sentence', async () => {
    const disguise = `Object.defineProperty(process, 'versions', { value: { ...process.versions, node: '22.9.0' } })`;
    const outcome = await execute(process.execPath, [
      '--import',
      `data:text/javascript,${encodeURIComponent(disguise)}`,
      MAIN,
      'serve',
    ]);
    assert.deepEqual(outcome, {
      exitCode: 2,
      stdout: '',
      stderr: 'bucketdisk needs Node 24 or newer, and this is Node 22.9.0.\n',
    });
  });

  it('is built so that an old Node gets as far as that sentence', async (t) => {
    const node = oldNode();
    if (node === undefined) return t.skip('no Node older than 24 on the PATH');
    const outDir = join(dir, 'dist');
    const tsc = join(ROOT, 'node_modules/typescript/bin/tsc');
    await execute(process.execPath, [tsc, '-p', join(ROOT, 'tsconfig.build.json'), '--outDir', outDir]);
    writeFileSync(join(dir, 'package.json'), '{ "type": "module" }');
    const outcome = await execute(node, [join(outDir, 'main.js'), 'serve']);
    assert.equal(outcome.exitCode, 2);
    assert.equal(outcome.stdout, '');
    assert.match(outcome.stderr, /^bucketdisk needs Node 24 or newer, and this is Node \d+\.\d+\.\d+\.\n$/);
  });
});
