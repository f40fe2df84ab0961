/** The units for systemd: as systemd reads them, and with the commands that they run. */
import assert from 'node:assert/strict';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { runCommand, startProcess } from '../support/run-command.ts';
import { tempDir } from '../support/temp.ts';
import { findProgram } from '../support/tools.ts';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const MAIN = join(ROOT, 'src', 'main.ts');
const unit = (name: string): Promise<string> => readFile(join(ROOT, 'systemd', name), 'utf8');

/** What stands in place of an installation. */
function onThisMachine(text: string, configFile: string): string {
  return text
    .replaceAll('/usr/bin/node', process.execPath)
    .replaceAll('/opt/bucketdisk/dist/main.js', MAIN)
    .replaceAll('/etc/bucketdisk/bucketdisk.json5', configFile);
}

describe('the units', () => {
  test('are what systemd takes, with nothing to complain of', async (t) => {
    if (findProgram('systemd-analyze') === null) return t.skip('needs systemd-analyze');
    const dir = await tempDir(t, 'units');
    const files = [];
    for (const [from, to] of [
      ['bucketdisk.service', 'bucketdisk.service'],
      ['bucketdisk-mount@.service', 'bucketdisk-mount@media.service'],
    ] as const) {
      files.push(join(dir, to));
      await writeFile(join(dir, to), onThisMachine(await unit(from), '/etc/bucketdisk/bucketdisk.json5'));
    }
    const { stdout, stderr } = await runCommand('systemd-analyze', ['verify', '--man=no', ...files]);
    assert.equal(stdout + stderr, '');
  });

  test('start what then serves, which reads its keys again, and ends as it should', async (t) => {
    const dir = await tempDir(t, 'unit');
    const configFile = join(dir, 'bucketdisk.json5');
    const config = {
      store: { url: `file:${join(dir, 'bucket')}` },
      cache: { dir: join(dir, 'cache'), size: '64MiB', logSize: '32MiB' },
      nbd: { listen: [], socket: join(dir, 'nbd.sock') },
      admin: { listen: null },
      log: { format: 'json' },
      volumes: { disk: { size: '4MiB' } },
    };
    await writeFile(configFile, JSON.stringify(config));
    const text = onThisMachine(await unit('bucketdisk.service'), configFile);
    const command = (name: string): string => {
      const [, line = ''] = new RegExp(`^${name}=(.*)$`, 'm').exec(text) ?? [];
      assert.notEqual(line, '', name);
      return line;
    };
    const [program = '', ...args] = command('ExecStart').split(' ');
    const service = startProcess(t, program, args, { cwd: '/' });
    // It ends once the service is started: `until` asks again and again.
    await runCommand('sh', ['-c', command('ExecStartPost')], { cwd: '/' });
    assert.match(service.stderr, /"event":"ready"/);
    await runCommand('sh', ['-c', command('ExecReload')], { env: { MAINPID: String(service.pid) } });
    await service.until(
      'it has been told to read again',
      () => /nothing to read again/.test(service.stderr) || undefined,
    );
    assert.equal((await service.stop('SIGTERM', 30_000)).code, 0, service.stderr);
  });

  test('do not try again what stays wrong, and give time to upload', async () => {
    for (const [name, seconds] of [
      ['bucketdisk.service', 60],
      ['bucketdisk-mount@.service', 90],
    ] as const) {
      const lines = (await unit(name)).split('\n');
      for (const line of [
        'Restart=on-failure',
        'SuccessExitStatus=13',
        'RestartPreventExitStatus=2 10 12',
        'KillMode=mixed',
        `TimeoutStopSec=${seconds}`,
      ]) {
        assert.ok(lines.includes(line), `${name}: ${line}`);
      }
    }
  });
});
