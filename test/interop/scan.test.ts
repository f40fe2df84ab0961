/** Scans by a real appliance and beside one, and whether the commands they give find the file. */
import assert from 'node:assert/strict';
import { mkdir, open, readFile, rm, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { askAppliance } from '../../src/admin/control-client.ts';
import type { JobRunOutcome, JobStatus, ScanOutcome } from '../../src/cli/actions.ts';
import { Command } from '../../src/nbd/constants.ts';
import { findFilesCommands, findFilesystem } from '../../src/scan/filesystem.ts';
import { scanServed } from '../../src/scan-command.ts';
import { RawClient } from '../conformance/nbd/raw-client.ts';
import { startAppliance } from '../support/appliance.ts';
import { onEnd } from '../support/cleanup.ts';
import { runCommand } from '../support/run-command.ts';
import { tempDir } from '../support/temp.ts';
import { requireFacilities, requireTools, toolPath } from '../support/tools.ts';
import { CommandLine } from './support/command-line.ts';
import { startWebhook } from './support/webhook.ts';

const BLOCK = 64 * 1024;
const TIMEOUT_MS = 300_000;

describe('scan', { timeout: TIMEOUT_MS }, () => {
  it('by the appliance: damage is found, told, repaired, and remembered over a restart', async (t) => {
    const hook = await startWebhook(t);
    const dir = await tempDir(t, 'scan');
    const config = {
      store: { url: 'file:bucket' },
      volumes: { disk: { size: '4MiB', blockSize: '64KiB', compress: 'zstd' } },
      schedule: { report: '0 0 0 1 1 *', scan: { cron: '0 0 3 * * *', jitter: '10m' } },
      events: { webhook: hook.url },
      admin: { listen: null },
    };
    const appliance = await startAppliance({ lifetime: t, config, dir });
    const cli = new CommandLine(dir, config);
    const client = await RawClient.attach({ path: appliance.socket }, { name: 'disk' });
    t.after(() => client.close());
    for (let block = 0; block < 8; block++) {
      const payload = Buffer.alloc(BLOCK, `block ${block};`);
      await client.request({ type: Command.WRITE, offset: BigInt(block * BLOCK), payload });
    }
    await appliance.flush('disk');

    const ask = (path: string, body: object) => askAppliance(join(dir, 'cache', 'control.sock'), 'POST', path, body);
    const how = { deep: true, share: 1, rateBytes: null, onProgress: () => {} };
    const sound = await scanServed('disk', { ...how, repair: false }, ask, ask);
    assert.deepEqual([sound.checked.blocks, sound.checked.deepBlocks, sound.findings], [8, 8, []]);

    const object = (block: number): string => join(dir, 'bucket', 'disk', `${block.toString(16).padStart(8, '0')}=`);
    await rm(object(2));
    const bytes = await readFile(object(5));
    await writeFile(object(5), Buffer.concat([bytes.subarray(0, -3), Buffer.of(1, 2, 3)]));
    const damaged = await cli.run(['scan', 'disk', '--deep']);
    assert.equal(damaged.code, 3, damaged.stderr);
    assert.match(damaged.stdout, /disk: 7 blocks listed, .*: DAMAGED in 2 places\n/);
    assert.match(damaged.stdout, new RegExp(`missing: bytes ${2 * BLOCK} to ${3 * BLOCK - 1} `));
    assert.match(damaged.stdout, /--repair puts back what the cache still has/);
    const job = await cli.run(['job', 'run', 'scan', '--json']);
    assert.equal(job.code, 3);
    assert.deepEqual((JSON.parse(job.stdout) as JobRunOutcome).code, 'CORRUPT');

    const repaired = await scanServed('disk', { ...how, repair: true }, ask, ask);
    assert.deepEqual([repaired.repaired, repaired.damageLeft], [2, 0]);
    for (let answer = await ask('/v1/jobs/run', { name: 'scan' }); ; ) {
      const { id, run } = answer as { id: string; run: JobRunOutcome | null };
      if (run === null) answer = await ask('/v1/jobs/run', { name: 'scan', id });
      else {
        assert.equal(run.result, 'ok');
        break;
      }
    }

    const status = await cli.run(['status', '--json']);
    const { recentEvents, jobs } = JSON.parse(status.stdout) as {
      recentEvents: { name: string }[];
      jobs: JobStatus[];
    };
    const told = recentEvents.map(({ name }) => name);
    assert.deepEqual(told.filter((name) => name === 'damage-found').length, 3, told.join(' '));
    assert.notEqual(jobs.find(({ name }) => name === 'report')?.nextRunAt, null);
    client.close();
    assert.equal((await appliance.stop()).code, 0);
    assert.deepEqual(hook.names().slice(0, told.length), told);
    assert.equal(hook.names().at(-1), 'stopped');
    assert.ok(!appliance.process.stderr.includes('s3cr3t'));

    const next = await startAppliance({ lifetime: t, config, dir });
    const history = JSON.parse((await cli.run(['job', 'history', 'scan', '--json'])).stdout) as JobRunOutcome[];
    assert.deepEqual(
      history.map(({ result }) => result),
      ['failed', 'ok'],
    );
    assert.match((await cli.run(['job', 'list'])).stdout, /^scan +0 0 3 \* \* \* \(up to 10 m later\) +\d{4}-/m);
    await next.stop();
  });

  it('without an appliance only reads, also while somebody else serves the volume', async (t) => {
    const config = {
      store: { url: 'file:bucket' },
      volumes: { disk: { size: '4MiB', blockSize: '64KiB' } },
    };
    const appliance = await startAppliance({ lifetime: t, config });
    const client = await RawClient.attach({ path: appliance.socket }, { name: 'disk' });
    t.after(() => client.close());
    await client.request({ type: Command.WRITE, offset: BigInt(BLOCK), payload: Buffer.alloc(BLOCK, 'x') });
    await appliance.flush('disk');
    const elsewhere = await tempDir(t, 'elsewhere');
    const cli = new CommandLine(elsewhere, { ...config, store: { url: `file:${join(appliance.dir, 'bucket')}` } });
    const sound = await cli.run(['scan', 'disk', '--deep', '--json']);
    assert.equal(sound.code, 0, sound.stderr);
    assert.equal((JSON.parse(sound.stdout) as { reports: ScanOutcome[] }).reports[0]?.by, 'alone');
    assert.equal((await cli.run(['scan', 'disk', '--repair'])).code, 11, 'to repair it would have to hold the volume');
    await truncate(join(appliance.dir, 'bucket', 'disk', '00000001='), 1000);
    assert.equal((await cli.run(['scan', 'disk', '--deep'])).code, 3);
    client.close();
  });
});

const CONTENT = Buffer.alloc(1024 * 1024, 'where is this kept? ');

const PIECE_BYTES = 8 * 1024 * 1024;

/** A filesystem in a file, with one file among others in it. */
async function image(t: TestContext, make: (file: string, tree: string) => Promise<unknown>): Promise<string> {
  const dir = await tempDir(t, 'image');
  const tree = join(dir, 'tree');
  await mkdir(join(tree, 'deep'), { recursive: true });
  for (let number = 0; number < 20; number++) await writeFile(join(tree, `other-${number}`), Buffer.alloc(50_000, 'o'));
  await writeFile(join(tree, 'deep', 'wanted'), CONTENT);
  const file = join(dir, 'fs.img');
  await make(file, tree);
  return file;
}

/** Where in the image the content of the file is. */
async function offsetIn(
  t: TestContext,
  file: string,
): Promise<{ offset: number; read: (at: number, length: number) => Promise<Buffer> }> {
  const handle = await open(file);
  onEnd(t, () => handle.close());
  const read = async (at: number, length: number): Promise<Buffer> => {
    const bytes = Buffer.alloc(length);
    await handle.read(bytes, 0, length, at);
    return bytes;
  };
  const { size } = await handle.stat();
  const start = CONTENT.subarray(0, 4096);
  for (let at = 0; at < size; at += PIECE_BYTES) {
    const found = (await read(at, PIECE_BYTES + start.length)).indexOf(start);
    if (found >= 0) return { offset: at + found, read };
  }
  throw new Error('the file is not in the image');
}

describe('the commands that find files', { timeout: TIMEOUT_MS }, () => {
  const cases: readonly [string, readonly Parameters<typeof requireTools>[1][number][], string[]][] = [
    ['ext4', ['mkfs.ext4', 'debugfs'], []],
    ['xfs', ['mkfs.xfs', 'xfs_db'], []],
  ];
  for (const [type, tools] of cases) {
    it(`of ${type} find it`, async (t) => {
      if (!requireTools(t, tools)) return;
      const file = await image(t, async (path, tree) => {
        await writeFile(path, '');
        await truncate(path, 320 * 1024 * 1024);
        if (type === 'ext4') return runCommand(toolPath('mkfs.ext4'), ['-q', '-F', '-d', tree, path]);
        const proto = `${path}.proto`;
        const entries = `deep d--755 0 0\nwanted ---644 0 0 ${tree}/deep/wanted\n$\nother ---644 0 0 ${tree}/other-1\n$\n`;
        await writeFile(proto, `none\n0 0\nd--755 0 0\n${entries}`);
        return runCommand(toolPath('mkfs.xfs'), ['-q', '-f', '-p', proto, path]);
      });
      const { offset, read } = await offsetIn(t, file);
      const filesystem = await findFilesystem(async (at, length) => read(at, length));
      assert.equal(filesystem?.type, type);
      const mounted = { device: file, dir: '/nowhere' };
      const [command = ''] = findFilesCommands(filesystem as NonNullable<typeof filesystem>, offset, 65_536, mounted);
      const { stdout } = await runCommand('sh', ['-c', command], { env: { PATH: '/usr/sbin:/usr/bin:/sbin:/bin' } });
      assert.match(stdout, /wanted/, command);
      assert.doesNotMatch(stdout, /other/);
    });
  }

  it('of btrfs find it', async (t) => {
    if (!requireTools(t, ['mkfs.btrfs', 'btrfs', 'mount', 'losetup'])) return;
    if (!requireFacilities(t, ['root', 'loop', 'btrfs'])) return;
    const file = await image(t, async (path, tree) => {
      await writeFile(path, '');
      await truncate(path, 256 * 1024 * 1024);
      return runCommand(toolPath('mkfs.btrfs'), ['-q', '-f', '--rootdir', tree, path]);
    });
    const { offset, read } = await offsetIn(t, file);
    const filesystem = await findFilesystem(async (at, length) => read(at, length));
    assert.equal(filesystem?.type, 'btrfs');
    const dir = join(await tempDir(t, 'btrfs'), 'mnt');
    await mkdir(dir);
    onEnd(t, async () => void (await runCommand('umount', [dir], { okCodes: null })));
    await runCommand('mount', ['-o', 'loop,ro', file, dir]);
    const commands = findFilesCommands(filesystem as NonNullable<typeof filesystem>, offset, 65_536, {
      device: file,
      dir,
    });
    const { stdout } = await runCommand('sh', ['-c', commands.join('\n')]);
    assert.match(stdout, new RegExp(`^${dir}/deep/wanted$`, 'm'), commands.join('\n'));
    assert.doesNotMatch(stdout, /other/);
  });
});
