/** A volume's life from the command line: made, served, looked at, resized, erased, and what is refused with which exit code. */
import assert from 'node:assert/strict';
import { open, stat } from 'node:fs/promises';
import { connect } from 'node:net';
import { join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { type Appliance, startAppliance } from '../support/appliance.ts';
import type { Lifetime } from '../support/cleanup.ts';
import { type CommandResult, type RunningProcess, runCommand, startProcess } from '../support/run-command.ts';
import { tempDir } from '../support/temp.ts';
import { requireFacilities, requireTools, toolPath } from '../support/tools.ts';
import { blockKeysOf, fileBucket, keysOf, s3Bucket, type TestBucket } from './support/buckets.ts';
import { CommandLine } from './support/command-line.ts';

const MIB = 1024 * 1024;
const TEST_TIMEOUT_MS = 120_000;
/** So short a lease that waiting for its end is not the test's whole time; long enough for a busy machine to renew it. */
const LEASE_MS = 8_000;

type Section = Readonly<Record<string, unknown>>;

interface User {
  readonly bucket: TestBucket;
  readonly dir: string;
  readonly config: Section;
  readonly commandLine: CommandLine;
}

/** A bucket, a directory, and a configuration with a volume `disk` in it. */
async function newUser(t: TestContext, volume: Section = {}, more: Section = {}): Promise<User> {
  return userOf(t, await fileBucket(t), volume, more);
}

async function userOf(t: TestContext, bucket: TestBucket, volume: Section, more: Section = {}): Promise<User> {
  const dir = await tempDir(t, 'user');
  const config = { store: bucket.section, volumes: { disk: { size: '16MiB', blockSize: '1MiB', ...volume } }, ...more };
  return { bucket, dir, config, commandLine: new CommandLine(dir, config) };
}

function serve(lifetime: Lifetime, { dir, config }: User, args: readonly string[] = []): Promise<Appliance> {
  return startAppliance({ lifetime, dir, config, args });
}

function assertExit(result: CommandResult, code: number, text: RegExp = /(?:)/): void {
  assert.equal(result.code, code, `${result.stdout}${result.stderr}`);
  assert.match(result.code === 0 ? result.stdout : result.stderr, text);
}

function parse(result: CommandResult): Record<string, unknown> {
  assert.equal(result.code, 0, result.stderr);
  return JSON.parse(result.stdout);
}

async function qemuIo(uri: string, ...commands: string[]): Promise<void> {
  await runCommand(toolPath('qemu-io'), ['-f', 'raw', ...commands.flatMap((command) => ['-c', command]), uri]);
}

async function sizeOf(uri: string): Promise<number> {
  const { stdout } = await runCommand(toolPath('nbdinfo'), ['--size', uri]);
  return Number(stdout);
}

interface StatusOfOne {
  readonly running: boolean;
  readonly pid: number | null;
  readonly volumes: readonly {
    state: string;
    sizeBytes: number;
    lease: { state: string } | null;
    connections: number;
  }[];
}

async function statusOf(commandLine: CommandLine): Promise<StatusOfOne> {
  return parse(await commandLine.run(['status', '--json'])) as unknown as StatusOfOne;
}

describe('a volume', () => {
  it('is created once, served, seen by status, and idle after', { timeout: TEST_TIMEOUT_MS }, async (t) => {
    if (!requireTools(t, ['qemu-io'])) return;
    const user = await newUser(t);
    const { commandLine, bucket } = user;
    assert.equal((await statusOf(commandLine)).volumes[0]?.state, 'absent');
    const created = parse(await commandLine.run(['create', 'disk', '--json']));
    assert.equal(created.sizeBytes, 16 * MIB);
    assertExit(await commandLine.run(['create', 'disk']), 2, /exists already/);
    assertExit(await commandLine.run(['create', 'nope']), 10, /not configured/);

    const appliance = await serve(t, user);
    await qemuIo(appliance.uris('disk').unix, 'write -P 7 0 2M');
    const running = await statusOf(commandLine);
    assert.equal(running.running, true);
    assert.equal(running.pid, appliance.pid);
    assert.equal(running.volumes[0]?.state, 'serving');
    assert.equal(running.volumes[0]?.lease?.state, 'held');
    assertExit(await commandLine.run(['status']), 0, new RegExp(`running for .*pid ${appliance.pid}`));
    assertExit(await commandLine.run(['serve']), 11, /another bucketdisk runs with the directory/);
    assertExit(await commandLine.run(['erase', 'disk', '--yes', 'disk']), 11, /is being served/);

    assertExit(await appliance.stop(), 0, /(?:)/);
    const idle = await statusOf(commandLine);
    assert.equal(idle.running, false);
    assert.equal(idle.volumes[0]?.state, 'idle');
    assert.equal((await blockKeysOf(bucket.store, 'disk/')).length, 2);
  });

  it('grows and shrinks while nobody serves it', { timeout: TEST_TIMEOUT_MS }, async (t) => {
    if (!requireTools(t, ['qemu-io', 'nbdinfo'])) return;
    const user = await newUser(t, { size: null });
    const { commandLine, bucket } = user;
    parse(await commandLine.run(['create', 'disk', '--set', 'volumes.disk.size=16MiB', '--json']));
    assertExit(await commandLine.run(['resize', 'disk', '32MiB']), 0, /resized disk from 16MiB to 32MiB/);
    const grown = await serve(t, user);
    assert.equal(await sizeOf(grown.uris('disk').unix), 32 * MIB);
    await qemuIo(grown.uris('disk').unix, 'write -P 1 0 1M', 'write -P 2 7M 1M', 'write -P 3 31M 1M');
    assertExit(await grown.stop(), 0);

    assertExit(await commandLine.run(['resize', 'disk', '8MiB']), 2, /--force/);
    assert.equal((await blockKeysOf(bucket.store, 'disk/')).length, 3, 'a refused resize deletes nothing');
    assertExit(await commandLine.run(['resize', 'disk', '8000KiB']), 2, /multiple of the block size/);
    const shrunk = parse(await commandLine.run(['resize', 'disk', '8MiB', '--force', '--json']));
    assert.deepEqual(shrunk, { name: 'disk', oldSizeBytes: 32 * MIB, newSizeBytes: 8 * MIB, deletedBlocks: 1 });
    assert.deepEqual(await blockKeysOf(bucket.store, 'disk/'), ['disk/00000000', 'disk/00000007']);
    assertExit(await commandLine.run(['resize', 'disk', '32MiB']), 0);
    const again = await serve(t, user);
    await qemuIo(again.uris('disk').unix, 'read -P 1 0 1M', 'read -P 2 7M 1M', 'read -P 0 8M 24M');
  });

  it('grows while it is served, and shrinks only where no client is attached', {
    timeout: TEST_TIMEOUT_MS,
  }, async (t) => {
    if (!requireTools(t, ['nbdinfo', 'qemu-io', 'python3-libnbd'])) return;
    const user = await newUser(t, { size: null });
    const { commandLine } = user;
    parse(await commandLine.run(['create', 'disk', '--set', 'volumes.disk.size=16MiB', '--json']));
    const appliance = await serve(t, user);
    const uri = appliance.uris('disk').unix;
    const attached = startProcess(t, toolPath('python3-libnbd'), ['-c', ATTACHED_CLIENT, uri]);
    await says(attached, 'attached 16777216');
    assertExit(await commandLine.run(['resize', 'disk', '32MiB']), 0, /from 16MiB to 32MiB/);
    assert.equal(await sizeOf(uri), 32 * MIB, 'a new connection sees the new size');
    await qemuIo(uri, 'write -P 9 31M 1M', 'read -P 9 31M 1M');
    const [one] = (await statusOf(commandLine)).volumes;
    assert.equal(one?.sizeBytes, 32 * MIB);
    assert.equal(one?.connections, 1);
    assertExit(await commandLine.run(['resize', 'disk', '8MiB', '--force']), 11, /clients? attached/);
    await attached.stop();
    assertExit(await commandLine.run(['resize', 'disk', '8MiB']), 2, /--force/);
    assertExit(await commandLine.run(['resize', 'disk', '8MiB', '--force']), 0, /from 32MiB to 8MiB, 1 blocks/);
    assert.equal(await sizeOf(uri), 8 * MIB);
    assertExit(await appliance.stop(), 0);
  });

  it('lets nobody attach while it is made smaller, and tells them why', { timeout: TEST_TIMEOUT_MS }, async (t) => {
    if (!requireTools(t, ['qemu-io', 'nbdinfo']) || !requireFacilities(t, ['root', 'fuse'])) return;
    const bucket = await s3Bucket(t);
    const fuseDir = await tempDir(t, 'files');
    const user = await userOf(t, bucket, { size: null }, { fuse: { dir: fuseDir } });
    const { commandLine } = user;
    parse(await commandLine.run(['create', 'disk', '--set', 'volumes.disk.size=16MiB', '--json']));
    const appliance = await serve(t, user);
    const uri = appliance.uris('disk').unix;
    const file = join(fuseDir, 'disk');
    await qemuIo(uri, 'write -P 1 0 16M');
    assertExit(await commandLine.run(['flush', 'disk']), 0);
    // With which the resize begins.
    const held = bucket.server.faults.hold({ method: 'PUT', key: /^disk\/bucketdisk-volume\.json$/ });
    const resized = commandLine.run(['resize', 'disk', '8MiB', '--force']);
    await held.arrived(1);
    const why = /disk is being made smaller: attach once/;
    await assert.rejects(qemuIo(uri, 'write -P 2 12M 1M'), why);
    assertExit(await runCommand(toolPath('nbdinfo'), [uri], { okCodes: null }), 1, /opt_go/);
    for (const flags of ['r', 'r+']) await assert.rejects(open(file, flags), { code: 'EBUSY' });
    assert.equal((await stat(file)).size, 16 * MIB);
    assertExit(await commandLine.run(['mount', 'disk', join(user.dir, 'mnt')]), 11, why);
    held.release();
    assertExit(await resized, 0, /from 16MiB to 8MiB/);
    await qemuIo(uri, 'read -P 1 0 8M');
    await (await open(file, 'r+')).close();
    assertExit(await appliance.stop(), 0);
  });

  it('is erased once its name has been said, with nothing left of it', { timeout: TEST_TIMEOUT_MS }, async (t) => {
    if (!requireTools(t, ['qemu-io'])) return;
    const user = await newUser(t);
    const { commandLine, bucket } = user;
    await bucket.store.put('disk-other/00000000', Buffer.from("somebody else's"));
    const appliance = await serve(t, user);
    await qemuIo(appliance.uris('disk').unix, 'write -P 1 0 5M');
    assertExit(await appliance.stop(), 0);
    assertExit(await commandLine.run(['erase', 'disk']), 2, /--yes disk/);
    assertExit(await commandLine.run(['erase', 'disk', '--yes', 'dusk']), 2, /nothing was deleted/);
    assert.equal((await blockKeysOf(bucket.store, 'disk/')).length, 5);
    assertExit(await commandLine.run(['erase', 'disk', '--yes', 'disk']), 0, /erased disk/);
    assert.deepEqual(await keysOf(bucket.store), ['disk-other/00000000']);
    assertExit(await commandLine.run(['erase', 'disk', '--yes', 'disk']), 10, /there is no volume/);
  });
});

describe('what is refused at the start', () => {
  it('wrong sizes, foreign prefixes, and configurations with errors: 2', { timeout: TEST_TIMEOUT_MS }, async (t) => {
    const { commandLine, bucket, dir, config } = await newUser(t);
    parse(await commandLine.run(['create', 'disk', '--json']));
    assertExit(
      await commandLine.run(['serve', '--set', 'volumes.disk.size=32MiB']),
      2,
      /is 16MiB.*says 32MiB.*resize/s,
    );
    assertExit(await commandLine.run(['serve', '--set', 'volumes.disk.blockSize=64KiB']), 2, /blocks of 1MiB.*64KiB/s);
    await bucket.store.put('photos/cat.jpg', Buffer.from('a cat'));
    const foreign = new CommandLine(dir, { ...config, volumes: { photos: { size: '16MiB' } } });
    assertExit(await foreign.run(['serve']), 2, /not empty and holds no volume.*cat\.jpg/s);
    assertExit(await foreign.run(['create', 'photos']), 2, /--force/);
    assert.deepEqual(await keysOf(bucket.store, 'photos/'), ['photos/cat.jpg'], 'nothing is written beside it');
    assertExit(await foreign.run(['create', 'photos', '--force']), 0);
    const wrong = new CommandLine(dir, { ...config, volumes: { disk: { size: 12, colour: 'red' } } });
    const told = await wrong.run(['config', 'validate']);
    assertExit(told, 2, /volumes\.disk\.size/);
    assert.match(told.stderr, /volumes\.disk\.colour/, 'all errors are told at once');
    assertExit(await wrong.run(['serve']), 2, /volumes\.disk\.size/);
  });

  it('volumes that do not exist: 10', { timeout: TEST_TIMEOUT_MS }, async (t) => {
    const { commandLine } = await newUser(t, { size: null, blockSize: null });
    assertExit(await commandLine.run(['serve']), 10, /set a size to create one/);
    assertExit(await commandLine.run(['serve', '--set', 'volumes.disk.readOnly=true']), 10, /there is none/);
    assertExit(await commandLine.run(['resize', 'disk', '32MiB']), 10);
    assertExit(await commandLine.run(['serve', '--take-over', 'nope']), 10);
  });

  it('a bucket that is not there, and credentials that are not good: 10 and 12', {
    timeout: TEST_TIMEOUT_MS,
  }, async (t) => {
    const bucket = await s3Bucket(t);
    const { commandLine } = await userOf(t, bucket, {});
    assertExit(await commandLine.run(['serve', '--set', 'store.url=s3://no-such-bucket']), 10, /no-such-bucket/);
    assertExit(await commandLine.run(['serve', '--set', 'store.secretAccessKey=wrong']), 12);
    assert.deepEqual(await keysOf(bucket.store), []);
  });

  it('wrong passwords, missing ones, and other ciphers: 12, 12 and 2', { timeout: TEST_TIMEOUT_MS }, async (t) => {
    const { commandLine } = await newUser(t, { encrypt: true, password: 'the right one' });
    parse(await commandLine.run(['create', 'disk', '--json']));
    const wrong = await commandLine.run(['serve', '--set', 'volumes.disk.password=the wrong one']);
    assertExit(wrong, 12, /password is wrong/);
    assert.doesNotMatch(wrong.stderr + wrong.stdout, /the right one|the wrong one/);
    const none = ['--set', 'volumes.disk.encrypt=false', '--set', 'volumes.disk.password=null'];
    assertExit(await commandLine.run(['serve', ...none]), 12, /is encrypted with AES-256-CBC/);
    assertExit(await commandLine.run(['serve', '--set', 'volumes.disk.encrypt=AES-128-CBC']), 2, /AES-256-CBC/);
  });
});

describe('being stopped', () => {
  it('finishes at SIGTERM what is under way, releases the volume, and exits 0', {
    timeout: TEST_TIMEOUT_MS,
  }, async (t) => {
    if (!requireTools(t, ['python3-libnbd'])) return;
    const bucket = await s3Bucket(t);
    const user = await userOf(t, bucket, {});
    const appliance = await serve(t, user);
    const held = bucket.server.faults.hold({ method: 'PUT', key: /^disk\/0000000[0-3]$/ });
    const client = startProcess(t, toolPath('python3-libnbd'), ['-c', WRITING_CLIENT, appliance.uris('disk').unix]);
    await held.arrived(4);
    appliance.process.signal('SIGTERM');
    await untilRefused(appliance);
    held.release();
    assertExit(await appliance.exited, 0);
    await client.exited;
    assert.equal(client.stdout.trim(), 'answered 4 of 4');
    assert.equal((await blockKeysOf(bucket.store, 'disk/')).length, 4);
    assert.equal(await bucket.store.head('disk/s3backer-mounted'), null);
    const next = await serve(t, await userOf(t, bucket, {}));
    assertExit(await next.stop(), 0);
  });

  it('cuts off at a second SIGTERM what is not answered, and loses nothing that was', {
    timeout: TEST_TIMEOUT_MS,
  }, async (t) => {
    if (!requireTools(t, ['python3-libnbd', 'qemu-io'])) return;
    const bucket = await s3Bucket(t);
    const user = await userOf(t, bucket, {}, { cache: { size: '0' }, lease: { duration: `${LEASE_MS}ms` } });
    const appliance = await serve(t, user);
    await qemuIo(appliance.uris('disk').unix, 'write -P 5 8M 2M', 'flush');
    const held = bucket.server.faults.hold({ method: 'PUT', key: /^disk\/0000000[0-3]$/ });
    const client = startProcess(t, toolPath('python3-libnbd'), ['-c', WRITING_CLIENT, appliance.uris('disk').unix]);
    await held.arrived(4);
    appliance.process.signal('SIGTERM');
    await untilRefused(appliance);
    assert.equal(appliance.process.running, true, 'the first signal waits for what is under way');
    appliance.process.signal('SIGTERM');
    const { code, stderr } = await appliance.exited;
    assert.equal(code, 130, stderr);
    await client.exited;
    assert.equal(client.stdout.trim(), 'answered 0 of 4');
    held.release();
    const next = await serve(t, user);
    await qemuIo(next.uris('disk').unix, 'read -P 5 8M 2M');
    assertExit(await next.stop(), 0);
  });

  it('says of a flush that was interrupted that it was, and not that all is uploaded', {
    timeout: TEST_TIMEOUT_MS,
  }, async (t) => {
    if (!requireTools(t, ['qemu-io'])) return;
    const bucket = await s3Bucket(t);
    const user = await userOf(t, bucket, {});
    const appliance = await serve(t, user);
    const held = bucket.server.faults.hold({ method: 'PUT', key: /^disk\/0000000[0-9a-f]$/ });
    await qemuIo(appliance.uris('disk').unix, 'write -P 1 0 4M', 'flush');
    await appliance.kill();
    const flush = await user.commandLine.start(t, ['flush', 'disk']);
    await held.arrived(1);
    assertExit(await flush.stop('SIGINT'), 130, /not everything was uploaded: 4 MiB of disk are in the cache/);
    held.release();
    assertExit(await user.commandLine.run(['flush', 'disk']), 0, /everything that was written is in the bucket/);
    assert.equal((await blockKeysOf(bucket.store, 'disk/')).length, 4);
  });

  it('comes back at once after SIGKILL, without waiting for its own lease', { timeout: TEST_TIMEOUT_MS }, async (t) => {
    if (!requireTools(t, ['qemu-io'])) return;
    const bucket = await s3Bucket(t);
    // Where it waited for the lease, the test would run out of time.
    const user = await userOf(t, bucket, {}, { lease: { duration: '10m' } });
    const appliance = await serve(t, user);
    await qemuIo(appliance.uris('disk').unix, 'write -f -P 6 0 3M');
    await appliance.kill();
    const next = await serve(t, user);
    await qemuIo(next.uris('disk').unix, 'read -P 6 0 3M');
    assertExit(await next.stop(), 0);
  });
});

describe('two appliances on one bucket', () => {
  it('serve different volumes side by side', { timeout: TEST_TIMEOUT_MS }, async (t) => {
    if (!requireTools(t, ['qemu-io'])) return;
    const bucket = await s3Bucket(t);
    const appliances: Appliance[] = [];
    for (const name of ['one', 'two']) {
      const config = { store: bucket.section, volumes: { [name]: { size: '16MiB', blockSize: '1MiB' } } };
      appliances.push(await startAppliance({ lifetime: t, config }));
    }
    const [one, two] = appliances as [Appliance, Appliance];
    await Promise.all([
      qemuIo(one.uris('one').unix, 'write -P 1 0 4M', 'read -P 1 0 4M'),
      qemuIo(two.uris('two').unix, 'write -P 2 0 4M', 'read -P 2 0 4M'),
    ]);
    await qemuIo(one.uris('one').unix, 'read -P 1 0 4M');
    for (const appliance of appliances) assertExit(await appliance.stop(), 0);
  });

  it('do not share one: 11 for the second, and for the first once it is taken over', {
    timeout: TEST_TIMEOUT_MS,
  }, async (t) => {
    if (!requireTools(t, ['qemu-io'])) return;
    const bucket = await s3Bucket(t);
    // Without a cache: what is answered is in the bucket, for the next one to find.
    const lease = { cache: { size: '0' }, lease: { duration: `${LEASE_MS}ms` } };
    const first = await serve(t, await userOf(t, bucket, {}, lease));
    await qemuIo(first.uris('disk').unix, 'write -f -P 1 0 2M');
    const other = await userOf(t, bucket, {}, lease);
    assertExit(await other.commandLine.run(['serve']), 11, /is held by .*alive.*--take-over/s);
    await qemuIo(first.uris('disk').unix, 'write -f -P 2 0 1M');

    const second = await serve(t, other, ['--take-over', 'disk']);
    const { code, stderr } = await first.exited;
    assert.equal(code, 11, stderr);
    assert.match(stderr, /has taken the volume from us/);
    await qemuIo(second.uris('disk').unix, 'read -P 2 0 1M', 'read -P 1 1M 1M', 'write -f -P 3 0 2M', 'read -P 3 0 2M');
    assertExit(await second.stop(), 0);
    const last = await serve(t, await userOf(t, bucket, {}, lease));
    await qemuIo(last.uris('disk').unix, 'read -P 3 0 2M');
    assertExit(await last.stop(), 0);
  });

  it('wait for a dead one until its lease has lapsed', { timeout: TEST_TIMEOUT_MS }, async (t) => {
    if (!requireTools(t, ['qemu-io'])) return;
    const bucket = await s3Bucket(t);
    // Without a cache: what is answered is in the bucket, for the next one to find.
    const lease = { cache: { size: '0' }, lease: { duration: `${LEASE_MS}ms` } };
    const first = await serve(t, await userOf(t, bucket, {}, lease));
    await qemuIo(first.uris('disk').unix, 'write -f -P 4 0 2M');
    await first.kill();
    const second = await serve(t, await userOf(t, bucket, {}, lease));
    await qemuIo(second.uris('disk').unix, 'read -P 4 0 2M');
    assertExit(await second.stop(), 0);
  });
});

/** Attaches, says so, and stays. */
const ATTACHED_CLIENT = `
import nbd, sys, time
handle = nbd.NBD()
handle.connect_uri(sys.argv[1])
print("attached", handle.get_size(), flush=True)
time.sleep(600)
`;

/** Sends four writes of a block each at once, and tells how many were answered well. */
const WRITING_CLIENT = `
import nbd, sys
handle = nbd.NBD()
handle.connect_uri(sys.argv[1])
answered = []
def done(error):
    answered.append(error.value == 0)
    return 1
for block in range(4):
    data = nbd.Buffer.from_bytearray(bytearray(b"\\x5a" * 1048576))
    handle.aio_pwrite(data, block * 1048576, done)
try:
    while len(answered) < 4:
        handle.poll(-1)
except nbd.Error:
    pass
print("answered", sum(answered), "of 4", flush=True)
`;

/** Resolves once it takes no new clients: it has begun to stop. */
async function untilRefused({ tcp, process }: Appliance): Promise<void> {
  while (process.running && (await accepts(tcp))) await delay(20);
}

function accepts({ host, port }: Appliance['tcp']): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, host);
    socket.once('connect', () => {
      socket.destroy();
      resolve(true);
    });
    socket.once('error', () => resolve(false));
  });
}

function says(process: RunningProcess, text: string): Promise<true> {
  return process.until(`it says "${text}"`, () => (process.stdout.includes(text) ? true : undefined));
}
