/** The image in a real Docker daemon: unprivileged, stopped, killed, contended, configured. */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { before, describe, type TestContext, test } from 'node:test';
import { type Lifetime, onEnd } from '../support/cleanup.ts';
import { type CommandResult, runCommand, startProcess } from '../support/run-command.ts';
import { tempDir } from '../support/temp.ts';
import { requireTools, toolPath } from '../support/tools.ts';
import {
  BUILD_TIMEOUT_MS,
  buildImage,
  Container,
  docker,
  eventually,
  newName,
  newVolume,
  UNPRIVILEGED,
  whyNoImages,
} from './support/containers.ts';
import { fileLifetime } from './support/file-lifetime.ts';

const MIB = 1024 * 1024;
/** Of what is ours in it and of what it stands on, uncompressed. */
const IMAGE_BYTES_MAX = 350 * 1_000_000;

/** Why there is no image to try, once `before` has run. */
let unavailable: string | null = null;
let image = '';

interface RunOptions {
  readonly args?: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
}

/** A container of the image that serves, with the NBD port on a free one of 127.0.0.1. */
async function run(lifetime: Lifetime, bucket: string, cache: string, options: RunOptions = {}): Promise<Container> {
  const container = new Container(newName('run'));
  const env = Object.entries(options.env ?? {}).flatMap(([name, value]) => ['-e', `${name}=${value}`]);
  onEnd(lifetime, async () => void (await docker(['rm', '-f', '-v', container.name], { okCodes: null })));
  await docker([
    ...['run', '-d', '--name', container.name, ...UNPRIVILEGED, '-p', '127.0.0.1::10809'],
    ...['-v', `${bucket}:/bucket`, '-v', `${cache}:/cache`, ...env, ...(options.args ?? []), image],
  ]);
  return container;
}

function requireImage(t: TestContext): boolean {
  if (unavailable === null) return requireTools(t, ['nbdinfo', 'nbdcopy', 'qemu-img', 'qemu-io']);
  t.skip(unavailable);
  return false;
}

const file = fileLifetime();

describe('the container image', () => {
  before(
    async () => {
      unavailable = await whyNoImages();
      if (unavailable === null) image = await buildImage(file);
    },
    { timeout: 2 * BUILD_TIMEOUT_MS },
  );

  test('holds what runs, and nothing that builds', async (t) => {
    if (!requireImage(t)) return;
    const list = ['--entrypoint', 'sh', image, '-c', 'id -u; ls /app /app/node_modules; command -v npm npx; exit 0'];
    const lines = (await docker(['run', '--rm', ...list])).stdout.split('\n');
    assert.notEqual(lines[0], '0', 'runs as root');
    for (const wanted of ['dist', 'config', 'package.json', 'winston']) assert.ok(lines.includes(wanted), wanted);
    for (const unwanted of ['src', 'test', 'typescript', 'node', 'fast-check'])
      assert.ok(!lines.includes(unwanted), unwanted);
    assert.ok(!lines.some((line) => /\/np[mx]$/.test(line)), 'has npm');
    const bytes = Number((await docker(['image', 'inspect', '-f', '{{.Size}}', image])).stdout);
    t.diagnostic(`the image has ${(bytes / 1_000_000).toFixed(0)} MB`);
    assert.ok(bytes < IMAGE_BYTES_MAX, `${bytes} bytes`);
  });

  test('serves unprivileged, becomes healthy, and stops with exit code 0 and its data', async (t) => {
    if (!requireImage(t)) return;
    const volumes = [await newVolume(t, 'bucket'), await newVolume(t, 'cache')] as const;
    const container = await run(t, ...volumes, {
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
    await eventually(async () => assert.equal(await container.health(), 'healthy'));

    await container.stop();
    assert.equal(await container.inspect('{{.State.ExitCode}}'), '0', await container.logs());
    await container.start();
    await runCommand(toolPath('nbdcopy'), [await container.ready('demo'), output]);
    assert.ok(data.equals(await readFile(output)), 'what came back after a restart is not what was written');
  });

  test('is unhealthy while it does not answer', async (t) => {
    if (!requireImage(t)) return;
    const container = await run(t, await newVolume(t, 'bucket'), await newVolume(t, 'cache'), {
      args: ['--health-interval=1s', '--health-timeout=2s', '--health-retries=1'],
    });
    await container.ready('demo');
    await eventually(async () => assert.equal(await container.health(), 'healthy'));
    const { pid } = await container.status();
    await container.exec('sh', '-c', `kill -STOP ${pid}`);
    await eventually(async () => assert.equal(await container.health(), 'unhealthy'));
    await container.exec('sh', '-c', `kill -CONT ${pid}`);
    await eventually(async () => assert.equal(await container.health(), 'healthy'));
  });

  test('killed in the middle of writes, comes back by itself with what was flushed', async (t) => {
    if (!requireImage(t)) return;
    const container = await run(t, await newVolume(t, 'bucket'), await newVolume(t, 'cache'), {
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
    const first = await run(t, bucket, await newVolume(t, 'cache'), { env });
    await first.ready('demo');
    const second = await run(t, bucket, await newVolume(t, 'cache'), { env });
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
    const { stdout } = await docker(['run', '--rm', ...UNPRIVILEGED, ...mount, image, 'config', 'show', '--sources']);
    assert.match(stdout, /^store\.url\s+"s3:\/\/from-file"\s+\/config\/bucketdisk\.json5:1$/m);
    assert.match(stdout, /^lease\.duration\s+"9s"\s+BUCKETDISK_LEASE_DURATION$/m);
    assert.match(stdout, /^nbd\.listen\s+\["0\.0\.0\.0:10809"\]\s+config\/default\.json5:\d+$/m);
  });
});
