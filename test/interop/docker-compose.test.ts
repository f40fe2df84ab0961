/** docker-compose.yml as it stands: a drive in a bucket and what is served from it, through restarts, a SIGKILL, and down again. */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { before, describe, type TestContext, test } from 'node:test';
import { loopFile } from '../../src/host/loop-device.ts';
import { readMountTable } from '../../src/lib/mount-table.ts';
import { type Lifetime, onEnd } from '../support/cleanup.ts';
import { type CommandResult, runCommand, startProcess } from '../support/run-command.ts';
import { startS3Server } from '../support/s3-server/s3-server.ts';
import { tempDir } from '../support/temp.ts';
import { findProgram, requireFacilities, requireTools, toolPath } from '../support/tools.ts';
import {
  BUILD_TIMEOUT_MS,
  buildImage,
  Container,
  docker,
  eventually,
  newName,
  ROOT,
  whyNoImages,
} from './support/containers.ts';
import { fileLifetime } from './support/file-lifetime.ts';

const UP_TIMEOUT_MS = 180_000;
const PASSWORD = 'a password for the shares';

/** Why the stack cannot be tried, once `before` has run. */
let unavailable: string | null = null;
let images: Readonly<Record<string, string>> = {};
let composeCommand: readonly string[] = [];

function requireStack(t: TestContext): boolean {
  if (unavailable === null) return requireFacilities(t, ['root', 'fuse', 'loop', 'ext4']);
  t.skip(unavailable);
  return false;
}

/** The services of docker-compose.yml under a name of their own, with directories of their own. */
class Stack {
  /** Where the drives appear. */
  readonly drives: string;
  readonly secrets: string;
  readonly #project = newName('stack');
  readonly #env: Readonly<Record<string, string | undefined>>;
  readonly #files: readonly string[];

  private constructor(home: string, env: Readonly<Record<string, string>>, files: readonly string[]) {
    this.drives = join(home, 'drive');
    this.secrets = join(home, 'secrets');
    this.#files = files;
    this.#env = {
      ...images,
      ...{
        DRIVE_DIR: this.drives,
        SECRETS_DIR: this.secrets,
        DEMO_SIZE: '256MiB',
        DISK_SIZE: '256MiB',
        NBD_SIZE: '64MiB',
      },
      ...{ WEB_PORT: '0', NBD_PORT: '0', NAS_LISTEN: '127.0.0.1:0', COMPOSE_PROFILES: undefined, ...env },
    };
  }

  static async make(t: TestContext, env: Readonly<Record<string, string>> = {}, override = ''): Promise<Stack> {
    const home = await tempDir(t, 'compose');
    const files = ['docker-compose.yml'];
    if (override !== '') {
      files.push(join(home, 'override.yml'));
      await writeFile(join(home, 'override.yml'), override);
    }
    const stack = new Stack(home, env, files);
    await mkdir(stack.drives);
    await mkdir(stack.secrets);
    for (const name of ['access-key-id', 'secret-access-key']) await writeFile(join(stack.secrets, name), 'unused');
    await writeFile(join(stack.secrets, 'nas-password'), PASSWORD);
    // What is mounted here is seen elsewhere, also on a machine whose own / is not shared.
    await runCommand('mount', ['-t', 'tmpfs', 'bucketdisk-test', stack.drives]);
    onEnd(t, async () => void (await runCommand('umount', ['-R', '-l', stack.drives])));
    await runCommand('mount', ['--make-shared', stack.drives]);
    onEnd(t, async () => void (await stack.compose('down', '-v', '-t', '60')));
    return stack;
  }

  compose(...args: string[]): Promise<CommandResult> {
    const [program = '', ...rest] = composeCommand;
    const all = [...rest, ...this.#files.flatMap((file) => ['-f', file]), '-p', this.#project, ...args];
    return runCommand(program, all, { cwd: ROOT, env: this.#env, timeoutMs: UP_TIMEOUT_MS });
  }

  async container(service: string): Promise<Container> {
    return new Container((await this.compose('ps', '-q', service)).stdout.trim());
  }

  /** The container of the service, once it is healthy. */
  healthy(service: string): Promise<Container> {
    return eventually(async () => {
      const container = await this.container(service);
      assert.equal(await container.health(), 'healthy', await container.logs());
      return container;
    }, UP_TIMEOUT_MS);
  }

  async removeVolume(name: string): Promise<void> {
    await docker(['volume', 'rm', `${this.#project}_${name}`]);
  }

  /** What is mounted below the directory of the drives, on this machine. */
  mounts(): { path: string; source: string }[] {
    return readMountTable().filter(({ path }) => path.startsWith(`${this.drives}/`));
  }

  /** The loop device that the drive is mounted from. */
  device(name: string): string {
    const found = this.mounts().filter(({ path }) => path === join(this.drives, name));
    assert.equal(found.length, 1, `${name} is mounted ${found.length} times`);
    return found[0]?.source ?? '';
  }

  /** Takes it down, keeps its volumes, and looks for what is left. */
  async down(): Promise<void> {
    const devices = this.mounts().map(({ source }) => source);
    await this.compose('down', '-t', '60');
    assert.deepEqual(this.mounts(), [], 'a mount is left');
    for (const device of devices) assert.equal(loopFile(device), null, `${device} is left`);
  }
}

/** Writes numbered files, each durable before the next, until it cannot. Returns how many. */
async function writeUntil(
  lifetime: Lifetime,
  dir: string,
  stop: (written: () => number) => Promise<void>,
): Promise<number> {
  const script =
    'i=0; while yes "$i" | dd of="$1/$i" bs=64k count=4 iflag=fullblock conv=fsync status=none; do echo $i; i=$((i+1)); done';
  const writer = startProcess(lifetime, 'sh', ['-c', script, 'sh', dir]);
  const written = (): number => writer.stdout.split('\n').length - 1;
  await stop(written);
  await writer.exited;
  return written();
}

async function assertServed(web: string, dir: string, count: number): Promise<void> {
  for (let index = 0; index < count; index++) {
    const answer = await fetch(`http://${web}/${dir}/${index}`);
    assert.equal(answer.status, 200, `file ${index} of ${count}`);
    const text = await answer.text();
    const line = `${index}\n`;
    assert.equal(text, line.repeat(Math.ceil(262_144 / line.length)).slice(0, 262_144), `file ${index} of ${count}`);
  }
}

const file = fileLifetime();

describe('docker compose', () => {
  before(
    async () => {
      unavailable = await whyNoImages();
      if (unavailable !== null) return;
      const plugin = (await docker(['compose', 'version'], { okCodes: null })).code === 0;
      composeCommand = plugin ? ['docker', 'compose'] : ['docker-compose'];
      if (!plugin && findProgram('docker-compose') === null) unavailable = 'needs docker compose';
      else {
        images = {
          BUCKETDISK_IMAGE: await buildImage(file),
          BUCKETDISK_WEB_IMAGE: await buildImage(file, 'docker/web'),
          BUCKETDISK_NAS_IMAGE: await buildImage(file, 'docker/nas'),
        };
      }
    },
    { timeout: 3 * BUILD_TIMEOUT_MS },
  );

  test('brings up a drive and its web server, which outlive restarts and a SIGKILL, and goes without a trace', async (t) => {
    if (!requireStack(t)) return;
    const stack = await Stack.make(t);
    await stack.compose('up', '-d', '--no-build');
    const [appliance, web] = [await stack.healthy('bucketdisk'), await stack.healthy('web')];
    const address = await web.published(8080);
    const webStarted = await web.inspect('{{.State.StartedAt}}');
    const drive = join(stack.drives, 'demo');

    const data = randomBytes(3_000_000);
    await writeFile(join(drive, 'film.bin'), data, { flush: true });
    await runCommand('sync', ['-f', drive]);
    const whole = async (): Promise<Buffer> =>
      Buffer.from(await (await fetch(`http://${address}/demo/film.bin`)).arrayBuffer());
    assert.ok(data.equals(await whole()));
    const part = await fetch(`http://${address}/demo/film.bin`, { headers: { range: 'bytes=1000000-1000999' } });
    assert.equal(part.status, 206);
    assert.equal(part.headers.get('content-range'), 'bytes 1000000-1000999/3000000');
    assert.ok(data.subarray(1_000_000, 1_001_000).equals(Buffer.from(await part.arrayBuffer())));
    assert.match(await (await fetch(`http://${address}/demo/`)).text(), /film\.bin/);
    assert.equal((await fetch(`http://${address}/none/film.bin`)).status, 404);

    // No more than it takes.
    assert.equal(
      await appliance.inspect(
        '{{.HostConfig.Privileged}} {{.HostConfig.ReadonlyRootfs}} {{.HostConfig.CapAdd}} {{.HostConfig.CapDrop}}',
      ),
      'false true [SYS_ADMIN] [ALL]',
    );
    await assert.rejects(appliance.exec('touch', '/app/new'), /Read-only file system/);

    // Stopped: the drive is away and says so, and comes back into the web server that ran all the time.
    await appliance.stop();
    assert.equal(await appliance.inspect('{{.State.ExitCode}}'), '0', await appliance.logs());
    assert.deepEqual(stack.mounts(), []);
    assert.equal((await fetch(`http://${address}/demo/film.bin`)).status, 503);
    await appliance.start();
    await stack.healthy('bucketdisk');
    assert.ok(data.equals(await whole()));
    assert.equal(await web.inspect('{{.State.StartedAt}}'), webStarted);

    for (const round of [1, 2]) {
      const dir = join(drive, `round-${round}`);
      await mkdir(dir);
      const device = stack.device('demo');
      const count = await writeUntil(t, dir, async (written) => {
        await eventually(async () => assert.ok(written() >= 20));
        // The second time only the appliance: the container starts it again by itself.
        if (round === 1) await docker(['kill', '-s', 'KILL', appliance.name]);
        else await appliance.exec('sh', '-c', `kill -KILL ${(await appliance.status()).pid}`);
      });
      if (round === 1) await appliance.start();
      await eventually(
        async () => assert.equal((await fetch(`http://${address}/demo/round-${round}/0`)).status, 200),
        UP_TIMEOUT_MS,
      );
      await stack.healthy('bucketdisk');
      t.diagnostic(`round ${round}: ${count} files were synced before the kill`);
      await assertServed(address, `demo/round-${round}`, count);
      assert.ok(data.equals(await whole()));
      assert.equal(await web.inspect('{{.State.StartedAt}}'), webStarted);
      assert.match(await appliance.logs(), /"event":"mount-stale"/);
      stack.device('demo');
      if (device !== stack.device('demo')) assert.equal(loopFile(device), null, `${device} is left`);
    }

    const restarted = join(drive, 'restarted');
    await mkdir(restarted);
    const written = await writeUntil(t, restarted, async (soFar) => {
      await eventually(async () => assert.ok(soFar() >= 20));
      await stack.compose('restart', '-t', '60', 'bucketdisk');
    });
    await stack.healthy('bucketdisk');
    t.diagnostic(`${written} files were synced before the restart`);
    await assertServed(address, 'demo/restarted', written);
    assert.equal(await web.inspect('{{.State.StartedAt}}'), webStarted);

    await stack.compose('restart', '-t', '60');
    await stack.healthy('bucketdisk');
    const again = await (await stack.healthy('web')).published(8080);
    await assertServed(again, 'demo/round-1', 20);
    await stack.down();
    assert.deepEqual(await readdir(stack.drives), ['demo']);

    // What is in the bucket is all of it: the filesystem comes back without its cache.
    await stack.removeVolume('cache');
    await stack.compose('up', '-d', '--no-build');
    const last = await stack.healthy('web');
    await assertServed(await last.published(8080), 'demo/round-2', 20);
    await stack.down();
  });

  test('shares the drives by SMB, under a profile', async (t) => {
    if (!requireStack(t)) return;
    const stack = await Stack.make(t);
    await stack.compose('up', '-d', '--no-build', 'bucketdisk', 'nas');
    const nas = await stack.healthy('nas');
    const smb = (commands: string, password = PASSWORD): Promise<string> =>
      nas.exec('smbclient', '--port=1445', `--user=nas%${password}`, '//127.0.0.1/drive', '--command', commands);
    await smb('cd demo; put /etc/os-release release; get release /tmp/release');
    assert.match(await nas.exec('cat', '/tmp/release'), /bookworm/);
    assert.match(await readFile(join(stack.drives, 'demo', 'release'), 'utf8'), /bookworm/);
    await assert.rejects(smb('ls', 'not the password'), /NT_STATUS_LOGON_FAILURE/);
    await stack.down();
  });

  test('serves NBD, unprivileged, under a profile', async (t) => {
    if (!requireStack(t) || !requireTools(t, ['nbdinfo'])) return;
    const stack = await Stack.make(t);
    await stack.compose('up', '-d', '--no-build', 'nbd');
    const nbd = await stack.container('nbd');
    assert.match(await nbd.ready('disk'), /^nbd:\/\/127\.0\.0\.1:/);
    const { stdout } = await runCommand(toolPath('nbdinfo'), ['--size', await nbd.uri('disk')]);
    assert.equal(Number(stdout), 64 * 1024 * 1024);
    assert.equal(
      await nbd.inspect('{{.Config.User}} {{.HostConfig.CapAdd}} {{.HostConfig.Devices}}'),
      '10809:10809 [] []',
    );
    await stack.compose('stop', '-t', '60');
    assert.equal(await nbd.inspect('{{.State.ExitCode}}'), '0', await nbd.logs());
  });

  test('mounts a drive whose bucket is in S3, under a profile', async (t) => {
    if (!requireStack(t)) return;
    await using s3 = await startS3Server({ buckets: ['bucket'] });
    // The server listens on the loopback of this machine.
    const override = `services: { s3: { network_mode: host, environment: { BUCKETDISK_ADMIN_LISTEN: '127.0.0.1:0' } } }`;
    const stack = await Stack.make(
      t,
      {
        BUCKETDISK_STORE_URL: 's3://bucket/disks',
        BUCKETDISK_STORE_ENDPOINT: s3.url,
        BUCKETDISK_STORE_REGION: s3.region,
        BUCKETDISK_STORE_FORCE_PATH_STYLE: 'true',
      },
      override,
    );
    await writeFile(join(stack.secrets, 'access-key-id'), s3.accessKeyId, { mode: 0o400 });
    await writeFile(join(stack.secrets, 'secret-access-key'), s3.secretAccessKey, { mode: 0o400 });
    await stack.compose('up', '-d', '--no-build', 's3');
    const appliance = await stack.healthy('s3');
    await writeFile(join(stack.drives, 'media', 'file'), randomBytes(4_000_000), { flush: true });
    await appliance.exec('bucketdisk', 'flush', 'media');
    assert.ok(
      s3
        .bucket('bucket')
        .sortedKeys()
        .filter((key) => key.startsWith('disks/media/')).length > 4,
    );
    await stack.down();
  });
});
