/** The image in a real Docker daemon: unprivileged, stopped, killed, contended, configured, composed. */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, type TestContext, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import type { ApplianceStatus } from '../../src/cli/actions.ts';
import { type Lifetime, onEnd } from '../support/cleanup.ts';
import { type CommandOptions, type CommandResult, runCommand, startProcess } from '../support/run-command.ts';
import { tempDir } from '../support/temp.ts';
import { findProgram, requireFacilities, requireTools, toolPath } from '../support/tools.ts';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const BASE_IMAGE = 'node:24-bookworm-slim';
const UP_TIMEOUT_MS = 60_000;
const BUILD_TIMEOUT_MS = 4 * 60_000;
const RUN_ID = `${process.pid}-${randomBytes(4).toString('hex')}`;
const IMAGE = `bucketdisk-test:${RUN_ID}`;
/** What docker-compose.yml asks for, too. */
const UNPRIVILEGED = ['--read-only', '--cap-drop=ALL', '--security-opt=no-new-privileges'];
const MIB = 1024 * 1024;

/** Why there is no image to try, once `before` has run. */
let unavailable: string | null = null;
let names = 0;

function docker(args: readonly string[], options: CommandOptions = {}): Promise<CommandResult> {
  return runCommand('docker', args, options);
}

/** A name that nothing else in the daemon has. */
function newName(what: string): string {
  return `bucketdisk-test-${RUN_ID}-${what}-${++names}`;
}

async function newVolume(lifetime: Lifetime, what: string): Promise<string> {
  const name = newName(what);
  await docker(['volume', 'create', name]);
  onEnd(lifetime, async () => void (await docker(['volume', 'rm', '-f', name])));
  return name;
}

/** Returns once `check` does not throw; rejects with its last error when the time is over. */
async function eventually<T>(check: () => Promise<T>): Promise<T> {
  const deadline = performance.now() + UP_TIMEOUT_MS;
  for (;;) {
    try {
      return await check();
    } catch (error) {
      if (performance.now() > deadline) throw error;
      await delay(100);
    }
  }
}

interface RunOptions {
  readonly args?: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
}

/** A container of the image that serves, with the NBD port on a free one of 127.0.0.1. */
class Container {
  readonly name: string;

  constructor(name: string) {
    this.name = name;
  }

  static async run(lifetime: Lifetime, bucket: string, cache: string, options: RunOptions = {}): Promise<Container> {
    const container = new Container(newName('run'));
    const env = Object.entries(options.env ?? {}).flatMap(([name, value]) => ['-e', `${name}=${value}`]);
    onEnd(lifetime, async () => void (await docker(['rm', '-f', '-v', container.name], { okCodes: null })));
    await docker([
      ...['run', '-d', '--name', container.name, ...UNPRIVILEGED, '-p', '127.0.0.1::10809'],
      ...['-v', `${bucket}:/bucket`, '-v', `${cache}:/cache`, ...env, ...(options.args ?? []), IMAGE],
    ]);
    return container;
  }

  /** Where the export is now: each start may publish another port. */
  async uri(exportName: string): Promise<string> {
    const { stdout } = await docker(['port', this.name, '10809/tcp']);
    return `nbd://${stdout.trim().split('\n')[0]}/${exportName}`;
  }

  /** The uri, once the export can be opened. */
  ready(exportName: string): Promise<string> {
    return eventually(async () => {
      const uri = await this.uri(exportName);
      await runCommand(toolPath('nbdinfo'), ['--size', uri]);
      return uri;
    });
  }

  async inspect(format: string): Promise<string> {
    return (await docker(['inspect', '-f', format, this.name])).stdout.trim();
  }

  async exec(...command: string[]): Promise<string> {
    return (await docker(['exec', this.name, ...command])).stdout;
  }

  async status(): Promise<ApplianceStatus> {
    return JSON.parse(await this.exec('bucketdisk', 'status', '--json')) as ApplianceStatus;
  }

  async stop(): Promise<void> {
    await docker(['stop', '-t', '40', this.name]);
  }

  async start(): Promise<void> {
    await docker(['start', this.name]);
  }

  async logs(): Promise<string> {
    const { stdout, stderr } = await docker(['logs', this.name]);
    return stdout + stderr;
  }
}

async function findReason(): Promise<string | null> {
  if (process.env.CI === 'true') return 'needs a docker daemon, which no package gives; not tried under CI=true';
  const host = process.env.DOCKER_HOST ?? '';
  if (host !== '' && !host.startsWith('unix:')) return `needs a docker daemon on this machine, not ${host}`;
  if (findProgram('docker') === null) return 'needs docker';
  if ((await docker(['info'], { okCodes: null })).code !== 0) return 'needs a docker daemon';
  if ((await docker(['image', 'inspect', BASE_IMAGE], { okCodes: null })).code === 0) return null;
  const pulled = await docker(['pull', BASE_IMAGE], { okCodes: null, timeoutMs: BUILD_TIMEOUT_MS });
  return pulled.code === 0 ? null : `needs the image ${BASE_IMAGE}, which cannot be pulled`;
}

async function buildImage(): Promise<void> {
  // A client without buildx still builds the old way, where it is told to.
  const buildx = await docker(['buildx', 'version'], { okCodes: null });
  const env = { DOCKER_BUILDKIT: buildx.code === 0 ? undefined : '0' };
  await docker(['build', '--network=host', '-t', IMAGE, ROOT], { env, timeoutMs: BUILD_TIMEOUT_MS });
}

function requireImage(t: TestContext): boolean {
  if (unavailable !== null) {
    t.skip(unavailable);
    return false;
  }
  return requireFacilities(t, ['docker']) && requireTools(t, ['nbdinfo', 'nbdcopy', 'qemu-img', 'qemu-io']);
}

describe('the container image', () => {
  before(
    async () => {
      unavailable = await findReason();
      if (unavailable === null) await buildImage();
    },
    { timeout: 2 * BUILD_TIMEOUT_MS },
  );
  after(async () => {
    if (unavailable === null) await docker(['rmi', '-f', IMAGE], { okCodes: null });
  });

  test('holds what runs, and nothing that builds', async (t) => {
    if (!requireImage(t)) return;
    const list = ['--entrypoint', 'sh', IMAGE, '-c', 'id -u; ls /app /app/node_modules; command -v npm npx; exit 0'];
    const lines = (await docker(['run', '--rm', ...list])).stdout.split('\n');
    assert.notEqual(lines[0], '0', 'runs as root');
    for (const wanted of ['dist', 'config', 'package.json', 'winston']) assert.ok(lines.includes(wanted), wanted);
    for (const unwanted of ['src', 'test', 'typescript', 'node', 'fast-check'])
      assert.ok(!lines.includes(unwanted), unwanted);
    assert.ok(!lines.some((line) => /\/np[mx]$/.test(line)), 'has npm');
  });

  test('serves unprivileged, becomes healthy, and stops with exit code 0 and its data', async (t) => {
    if (!requireImage(t)) return;
    const volumes = [await newVolume(t, 'bucket'), await newVolume(t, 'cache')] as const;
    const container = await Container.run(t, ...volumes, {
      args: ['--health-interval=1s'],
      env: { BUCKETDISK_VOLUMES_DEMO_SIZE: '32MiB' },
    });
    const dir = await tempDir(t, 'docker');
    const [input, output] = [join(dir, 'in'), join(dir, 'out')];
    const data = randomBytes(32 * MIB);
    await writeFile(input, data);

    await runCommand(toolPath('nbdcopy'), ['--flush', input, await container.ready('demo')]);
    await runCommand(toolPath('nbdcopy'), [await container.uri('demo'), output]);
    assert.ok(data.equals(await readFile(output)), 'what came back is not what was written');
    await eventually(async () => assert.equal(await container.inspect('{{.State.Health.Status}}'), 'healthy'));

    await container.stop();
    assert.equal(await container.inspect('{{.State.ExitCode}}'), '0', await container.logs());
    await container.start();
    await runCommand(toolPath('nbdcopy'), [await container.ready('demo'), output]);
    assert.ok(data.equals(await readFile(output)), 'what came back after a restart is not what was written');
  });

  test('is unhealthy while it does not answer', async (t) => {
    if (!requireImage(t)) return;
    const container = await Container.run(t, await newVolume(t, 'bucket'), await newVolume(t, 'cache'), {
      args: ['--health-interval=1s', '--health-timeout=2s', '--health-retries=1'],
    });
    await container.ready('demo');
    await eventually(async () => assert.equal(await container.inspect('{{.State.Health.Status}}'), 'healthy'));
    const { pid } = await container.status();
    await container.exec('sh', '-c', `kill -STOP ${pid}`);
    await eventually(async () => assert.equal(await container.inspect('{{.State.Health.Status}}'), 'unhealthy'));
    await container.exec('sh', '-c', `kill -CONT ${pid}`);
    await eventually(async () => assert.equal(await container.inspect('{{.State.Health.Status}}'), 'healthy'));
  });

  test('killed in the middle of writes, comes back by itself with what was flushed', async (t) => {
    if (!requireImage(t)) return;
    const container = await Container.run(t, await newVolume(t, 'bucket'), await newVolume(t, 'cache'), {
      args: ['--restart=unless-stopped'],
      env: { BUCKETDISK_VOLUMES: '{ kept: { size: "16MiB" }, busy: { size: "16MiB" } }' },
    });
    await container.ready('kept');
    const qemuIo = async (...commands: string[]): Promise<CommandResult> =>
      runCommand(toolPath('qemu-io'), [
        ...['-f', 'raw', ...commands.flatMap((command) => ['-c', command]), await container.uri('kept')],
      ]);
    await qemuIo('write -P 0xaa 0 16M', 'flush');
    const bench = ['bench', '-f', 'raw', '-t', 'none', '-w', '--pattern=85', '-c', '10000000', '-s', '65536'];
    const writer = startProcess(t, toolPath('qemu-img'), [...bench, await container.uri('busy')]);
    const pid = await eventually(async () => {
      const { pid, connections } = await container.status();
      const written = connections.find(({ volume }) => volume === 'busy')?.writtenBytes ?? 0;
      assert.ok(written > MIB, `${written} bytes written; ${writer.stderr}`);
      return pid;
    });
    await container.exec('sh', '-c', `kill -KILL ${pid}`);

    await eventually(async () => assert.equal(await container.inspect('{{.RestartCount}}'), '1'));
    await container.ready('kept');
    const { stdout } = await qemuIo('read -P 0xaa 0 16M');
    assert.doesNotMatch(stdout, /Pattern verification failed/);
    const output = join(await tempDir(t, 'docker'), 'busy');
    await runCommand(toolPath('nbdcopy'), [await container.ready('busy'), output]);
    const busy = await readFile(output);
    const sectors = Array.from({ length: busy.length / 512 }, (_, index) =>
      busy.subarray(index * 512, (index + 1) * 512),
    );
    const wrong = sectors.filter(
      (sector) => !sector.every((byte) => byte === sector[0] && (byte === 0 || byte === 85)),
    );
    assert.equal(wrong.length, 0, 'a sector holds neither what was there nor what was written');
  });

  test('a second one on the same bucket is refused until the first has stopped', async (t) => {
    if (!requireImage(t)) return;
    const bucket = await newVolume(t, 'bucket');
    // Short enough for the second to see soon that the first renews its lease.
    const env = { BUCKETDISK_LEASE_DURATION: '6s' };
    const first = await Container.run(t, bucket, await newVolume(t, 'cache'), { env });
    await first.ready('demo');
    const second = await Container.run(t, bucket, await newVolume(t, 'cache'), { env });
    const { stdout } = await docker(['wait', second.name]);
    assert.equal(stdout.trim(), '11', await second.logs());
    assert.match(await second.logs(), /is alive/);
    await first.ready('demo');

    await first.stop();
    await second.start();
    await second.ready('demo');
  });

  test('a file in /config stands above what the image sets, and the environment above the file', async (t) => {
    if (!requireImage(t)) return;
    const dir = await tempDir(t, 'docker-config');
    await writeFile(join(dir, 'config.json5'), '{ store: { url: "s3://from-file" }, lease: { duration: "7s" } }');
    const mount = [
      '-v',
      `${join(dir, 'config.json5')}:/config/bucketdisk.json5:ro`,
      '-e',
      'BUCKETDISK_LEASE_DURATION=9s',
    ];
    const { stdout } = await docker(['run', '--rm', ...UNPRIVILEGED, ...mount, IMAGE, 'config', 'show', '--sources']);
    assert.match(stdout, /^store\.url\s+"s3:\/\/from-file"\s+\/config\/bucketdisk\.json5:1$/m);
    assert.match(stdout, /^lease\.duration\s+"9s"\s+BUCKETDISK_LEASE_DURATION$/m);
    assert.match(stdout, /^nbd\.listen\s+\["0\.0\.0\.0:10809"\]\s+config\/default\.json5:\d+$/m);
  });

  test('docker compose brings demo up on 127.0.0.1, and down again', async (t) => {
    if (!requireImage(t)) return;
    const plugin = (await docker(['compose', 'version'], { okCodes: null })).code === 0;
    if (!plugin && findProgram('docker-compose') === null) return t.skip('needs docker compose');
    const project = newName('compose');
    const compose = (...args: string[]): Promise<CommandResult> =>
      runCommand(plugin ? 'docker' : 'docker-compose', [...(plugin ? ['compose'] : []), '-p', project, ...args], {
        cwd: ROOT,
        env: { BUCKETDISK_IMAGE: IMAGE, NBD_PORT: '0', COMPOSE_PROFILES: undefined },
      });
    const down = onEnd(t, async () => void (await compose('down', '-v', '-t', '40')));
    await compose('up', '-d', '--no-build');
    const id = (await compose('ps', '-q', 'bucketdisk')).stdout.trim();
    const container = new Container(id);
    assert.match(await container.ready('demo'), /^nbd:\/\/127\.0\.0\.1:/);
    assert.match((await compose('logs', 'bucketdisk')).stdout, /"event":"ready"/);
    await compose('stop', '-t', '40');
    assert.equal(await container.inspect('{{.State.ExitCode}}'), '0', await container.logs());
    await down();
    assert.notEqual((await docker(['inspect', id], { okCodes: null })).code, 0);
  });
});
