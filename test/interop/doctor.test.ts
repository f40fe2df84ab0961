/** `bucketdisk doctor`, as a process, on a machine that is broken in as many ways as can be had without breaking it. */
import assert from 'node:assert/strict';
import { mkdir, readdir, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { fileURLToPath } from 'node:url';
import type { ApplianceStatus, DoctorReport } from '../../src/cli/actions.ts';
import type { FindingState } from '../../src/doctor/finding.ts';
import { readMountTable } from '../../src/lib/mount-table.ts';
import { startAppliance } from '../support/appliance.ts';
import { onEnd } from '../support/cleanup.ts';
import { type CommandResult, runCommand } from '../support/run-command.ts';
import { clockSkew, ignoreConditions, status } from '../support/s3-server/faults.ts';
import { tempDir } from '../support/temp.ts';
import { requireFacilities, requireTools, toolPath } from '../support/tools.ts';
import { keysOf, s3Bucket } from './support/buckets.ts';
import { startFuseAppliance } from './support/fuse-appliance.ts';

const TIMEOUT_MS = 600_000;
const MAIN = fileURLToPath(new URL('../../src/main.ts', import.meta.url));

interface Options {
  /** What runs Node: a program and its first arguments. */
  readonly wrapper?: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
}

/** The doctor's report, and the exit code with it. */
async function doctor(
  dir: string,
  config: object,
  { wrapper = [], env = {} }: Options = {},
): Promise<{ report: DoctorReport; result: CommandResult }> {
  const file = join(dir, 'doctor.json5');
  await writeFile(file, JSON.stringify({ admin: { listen: null }, ...config }));
  const [program = process.execPath, ...args] = [
    ...wrapper,
    process.execPath,
    MAIN,
    'doctor',
    '--json',
    '--config',
    file,
  ];
  const inherited = Object.keys(process.env).filter((name) => /^(AWS|BUCKETDISK)_/.test(name));
  const clean = { ...Object.fromEntries(inherited.map((name) => [name, undefined])), HOME: dir };
  const result = await runCommand(program, args, {
    env: { ...clean, AWS_EC2_METADATA_DISABLED: 'true', ...env },
    okCodes: null,
    timeoutMs: TIMEOUT_MS,
  });
  assert.ok(result.code === 0 || result.code === 14, `${result.code}: ${result.stderr}`);
  const report = JSON.parse(result.stdout) as DoctorReport;
  assert.equal(report.ok, result.code === 0, 'the exit code says whether a check failed');
  return { report, result };
}

function names(report: DoctorReport, check: string, state: FindingState, message: RegExp): void {
  const found = report.findings.find(
    (finding) => finding.check === check && finding.state === state && message.test(finding.message),
  );
  assert.ok(found, `${state} ${check} ${message} is not in ${JSON.stringify(report.findings, null, 1)}`);
  if (state === 'fail') assert.ok(found.remedy, check);
}

function failures(report: DoctorReport): string[] {
  return report.findings.filter(({ state }) => state === 'fail').map(({ check, message }) => `${check}: ${message}`);
}

const VOLUMES = { media: { size: '64MiB' } };

describe('doctor', { timeout: TIMEOUT_MS }, () => {
  it('finds nothing wrong where nothing is, beside an appliance that it does not disturb', async (t) => {
    const bucket = await s3Bucket(t);
    const appliance = await startAppliance({ lifetime: t, config: { store: bucket.section, volumes: VOLUMES } });
    const keysBefore = await keysOf(bucket.store);
    const filesBefore = await readdir(join(appliance.dir, 'cache'));
    const file = appliance.configFile;
    const words = [MAIN, 'doctor', '--json', '--config', file];
    const { code, stdout, stderr } = await runCommand(process.execPath, words, { okCodes: null });
    const report = JSON.parse(stdout) as DoctorReport;
    assert.deepEqual(failures(report), [], stderr);
    assert.equal(code, 0);
    names(report, 'appliance', 'ok', new RegExp(`pid ${appliance.pid}`));
    names(report, 'volumes', 'ok', /media.*is being served/);
    names(report, 'leases', 'ok', /held by the running appliance/);
    names(report, 'conditional puts', 'ok', /honoured/);
    names(report, 'objects', 'ok', /written, read and deleted/);
    names(report, 'clock', 'ok', /agree/);
    assert.deepEqual(await keysOf(bucket.store), keysBefore);
    assert.deepEqual(await readdir(join(appliance.dir, 'cache')), filesBefore);
    assert.equal(appliance.process.running, true);
    const text = await runCommand(process.execPath, [MAIN, 'doctor', '--config', file]);
    assert.match(text.stdout, /^ok {4}bucket {12} {2}s3:\/\/interop answers/m);
    assert.match(text.stdout, /\nno check failed, \d+ with a warning, \d+ ok\n$/);
  });

  it('names what is wrong with the configuration, and looks at the machine nevertheless', async (t) => {
    const dir = await tempDir(t, 'doctor');
    const { report } = await doctor(dir, { log: { level: 'loud' }, volumes: { media: { size: 7 } } });
    names(report, 'configuration', 'fail', /log\.level/);
    names(report, 'configuration', 'fail', /volumes\.media\.size/);
    assert.ok(report.findings.some(({ check }) => check === 'stale mounts'));
    assert.ok(!report.findings.some(({ check }) => check === 'bucket'));
  });

  it('names what is wrong with the bucket and the credentials', async (t) => {
    const bucket = await s3Bucket(t);
    const dir = await tempDir(t, 'doctor');
    const cache = { dir: join(dir, 'cache'), size: '16MiB', logSize: '8MiB' };
    const { accessKeyId: _id, secretAccessKey: _secret, ...unsigned } = bucket.section;
    const look = async (store: object, options: Options = {}): Promise<DoctorReport> =>
      (await doctor(dir, { store, cache, volumes: VOLUMES }, options)).report;

    const stranger = await look(unsigned);
    names(stranger, 'credentials', 'fail', /no credentials were found/);

    const env = { AWS_ACCESS_KEY_ID: bucket.accessKeyId, AWS_SECRET_ACCESS_KEY: bucket.secretAccessKey };
    names(await look(unsigned, { env }), 'credentials', 'ok', /the environment \(AWS_ACCESS_KEY_ID\)/);

    const liar = await look({ ...bucket.section, secretAccessKey: 'not the secret' });
    names(liar, 'bucket', 'fail', /SignatureDoesNotMatch/);
    names(liar, 'credentials', 'ok', /doctor\.json5/);

    names(await look({ ...bucket.section, url: 's3://nowhere' }), 'bucket', 'fail', /NoSuchBucket|does not exist/);

    names(await look({ ...bucket.section, endpoint: 'http://127.0.0.1:9' }), 'bucket', 'fail', /127\.0\.0\.1:9/);

    const slow = bucket.server.faults.add(clockSkew(20 * 60_000));
    names(await look(bucket.section), 'clock', 'fail', /1[12]\d\d s behind/);
    slow.remove();

    const careless = bucket.server.faults.add(ignoreConditions());
    names(await look(bucket.section), 'conditional puts', 'warn', /ignores If-None-Match and If-Match/);
    careless.remove();

    const locked = bucket.server.faults.add(status(403), { op: ['DeleteObject', 'DeleteObjects'] });
    names(await look(bucket.section), 'objects', 'fail', /cannot be deleted/);
    locked.remove();

    const other = { ...bucket.section, region: 'eu-central-1' };
    names(await look(other), 'bucket', 'fail', /region/);
  });

  it('names what is wrong with the machine', async (t) => {
    if (!requireTools(t, ['mount', 'setpriv', 'unshare']) || !requireFacilities(t, ['root'])) return;
    const dir = await tempDir(t, 'doctor');
    const memory = join(dir, 'memory');
    await mkdir(memory);
    await runCommand(toolPath('mount'), ['-t', 'tmpfs', '-o', 'size=8m', 'none', memory]);
    onEnd(t, async () => {
      await runCommand('umount', ['-l', memory]);
    });
    const port = await occupyPort(t);
    const config = {
      store: { url: `file://${join(dir, 'bucket')}` },
      cache: { dir: join(memory, 'cache'), size: '64MiB', logSize: '16MiB' },
      nbd: { listen: [`127.0.0.1:${port}`], socket: join(dir, 'missing', 'nbd.sock') },
      fuse: { dir: join(dir, 'disks') },
      volumes: VOLUMES,
    };
    // A namespace of its own, in which mounts are private, descriptors are few and privileges are gone.
    const script = 'ulimit -n 100 && exec setpriv --bounding-set -sys_admin --inh-caps -sys_admin "$@"';
    const wrapper = ['unshare', '--mount', 'sh', '-c', script, 'sh'];
    const { report } = await doctor(dir, config, { wrapper });
    names(report, 'cache disk', 'warn', /on tmpfs, in memory/);
    names(report, 'cache disk', 'fail', /write logs need/);
    names(report, 'addresses', 'fail', new RegExp(`127\\.0\\.0\\.1:${port} .* in use`));
    names(report, 'addresses', 'fail', /missing/);
    names(report, 'open files', 'fail', /only 100/);
    names(report, 'capabilities', 'fail', /CAP_SYS_ADMIN/);
    names(report, 'propagation', 'warn', /private/);
  });

  it('names a disk that does not sync, and one without a /dev/fuse', async (t) => {
    if (!requireTools(t, ['strace', 'mount', 'unshare']) || !requireFacilities(t, ['root'])) return;
    const dir = await tempDir(t, 'doctor');
    const config = {
      store: { url: `file://${join(dir, 'bucket')}` },
      cache: { dir: join(dir, 'cache'), size: '16MiB', logSize: '8MiB' },
      nbd: { listen: ['127.0.0.1:0'] },
      fuse: { dir: join(dir, 'disks') },
      volumes: VOLUMES,
    };
    const strace = [
      'strace',
      '-f',
      '-qq',
      '-o',
      '/dev/null',
      '-e',
      'trace=fdatasync',
      '-e',
      'inject=fdatasync:error=EIO',
    ];
    const failing = await doctor(dir, config, { wrapper: strace });
    names(failing.report, 'cache disk', 'fail', /made durable \(EIO\)/);
    const script = 'mount -t tmpfs none /dev && mknod /dev/null c 1 3 && mknod /dev/urandom c 1 9 && exec "$@"';
    const bare = await doctor(dir, config, { wrapper: ['unshare', '--mount', 'sh', '-c', script, 'sh'] });
    names(bare.report, 'fuse', 'fail', /\/dev\/fuse is not there/);
    names(bare.report, 'loop devices', 'warn', /loop-control/);
  });

  it('names what a crash has left, and changes nothing of it', async (t) => {
    if (!requireTools(t, ['mount', 'losetup']) || !requireFacilities(t, ['root', 'fuse', 'loop'])) return;
    const files = await startFuseAppliance(t, { config: { upload: { age: '1h' }, lease: { duration: '1h' } } });
    const { appliance, dir } = files;
    const device = (await runCommand(toolPath('losetup'), ['--find', '--show', files.file])).stdout.trim();
    onEnd(t, async () => {
      await runCommand(toolPath('losetup'), ['-d', device], { okCodes: null });
    });
    await runCommand('dd', ['if=/dev/urandom', `of=${files.file}`, 'bs=64k', 'count=4', 'conv=notrunc,fsync']);
    await appliance.kill();
    const cache = { dir: join(appliance.dir, 'cache'), size: '64MiB', logSize: '32MiB' };
    const config = {
      store: { url: `file://${join(appliance.dir, 'bucket')}` },
      cache,
      nbd: { listen: ['127.0.0.1:0'] },
    };
    const look = async (volumes: object): Promise<DoctorReport> =>
      (await doctor(appliance.dir, { ...config, fuse: { dir }, volumes })).report;
    const disk = { size: '256MiB', blockSize: '256KiB' };

    const same = await look({ disk });
    names(same, 'stale mounts', 'fail', new RegExp(`${dir} is stale`));
    names(same, 'stale loop devices', 'fail', new RegExp(`${device} is attached`));
    names(same, 'unsaved writes', 'warn', /disk has writes/);
    const asked = await runCommand(process.execPath, [MAIN, 'status', '--json', '--config', appliance.configFile]);
    assert.equal((JSON.parse(asked.stdout) as ApplianceStatus).volumes[0]?.leftover, 'unsaved');
    names(same, 'leases', 'ok', /disk was left by .*: the next start takes it/);
    assert.ok(
      readMountTable().some(({ path }) => path === dir),
      'nothing was taken away',
    );

    const other = await look({ media: { size: '64MiB' } });
    names(
      other,
      'unsaved writes',
      'fail',
      /disk has writes that are not in the bucket, and the volume is not configured/,
    );

    // What the doctor has looked at is still what an appliance needs.
    const again = await startFuseAppliance(t, { after: files });
    await again.appliance.flush('disk');
    assert.deepEqual(await readdir(dir), ['disk']);
  });
});

async function occupyPort(t: TestContext): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => {
    server.listen(0, '127.0.0.1', resolve);
  });
  onEnd(t, () => {
    server.close();
  });
  const address = server.address();
  assert.ok(address !== null && typeof address === 'object');
  return address.port;
}
