/** Containers for tests: a daemon to run them in, images built from this checkout, and names that nothing else has. */
import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import type { ApplianceStatus } from '../../../src/cli/actions.ts';
import { type Lifetime, onEnd } from '../../support/cleanup.ts';
import { BASE_IMAGES } from '../../support/docker-images.ts';
import { type CommandOptions, type CommandResult, runCommand } from '../../support/run-command.ts';
import { findProgram, toolPath } from '../../support/tools.ts';

export const ROOT = fileURLToPath(new URL('../../..', import.meta.url));
export const BUILD_TIMEOUT_MS = 4 * 60_000;
/** What docker-compose.yml asks for, too. */
export const UNPRIVILEGED = ['--read-only', '--cap-drop=ALL', '--security-opt=no-new-privileges'];
const UP_TIMEOUT_MS = 60_000;
const RUN_ID = `${process.pid}-${randomBytes(4).toString('hex')}`;

let names = 0;

export function docker(args: readonly string[], options: CommandOptions = {}): Promise<CommandResult> {
  return runCommand('docker', args, options);
}

/** A name that nothing else in the daemon has. */
export function newName(what: string): string {
  return `bucketdisk-test-${RUN_ID}-${what}-${++names}`;
}

export async function newVolume(lifetime: Lifetime, what: string): Promise<string> {
  const name = newName(what);
  await docker(['volume', 'create', name]);
  onEnd(lifetime, async () => void (await docker(['volume', 'rm', '-f', name])));
  return name;
}

/** Returns once `check` does not throw; rejects with its last error when the time is over. */
export async function eventually<T>(check: () => Promise<T>, timeoutMs = UP_TIMEOUT_MS): Promise<T> {
  const deadline = performance.now() + timeoutMs;
  for (;;) {
    try {
      return await check();
    } catch (error) {
      if (performance.now() > deadline) throw error;
      await delay(100);
    }
  }
}

/** Why no image can be built here; null where it can. */
export async function whyNoImages(): Promise<string | null> {
  if (process.env.CI === 'true') return 'needs a docker daemon, which takes minutes to make; not tried under CI=true';
  const host = process.env.DOCKER_HOST ?? '';
  if (host !== '' && !host.startsWith('unix:')) return `needs a docker daemon on this machine, not ${host}`;
  if (findProgram('docker') === null) return 'needs docker';
  if ((await docker(['info'], { okCodes: null })).code !== 0) {
    return 'needs a docker daemon: npm test starts one where docker.io and debootstrap are installed, and it runs as root';
  }
  for (const image of BASE_IMAGES) {
    if ((await docker(['image', 'inspect', image], { okCodes: null })).code === 0) continue;
    const pulled = await docker(['pull', image], { okCodes: null, timeoutMs: BUILD_TIMEOUT_MS });
    if (pulled.code !== 0) return `needs the image ${image}, which cannot be pulled`;
  }
  return null;
}

/** Builds the image of a folder of this checkout, and removes its name with the lifetime: its layers stay for the next run. */
export async function buildImage(lifetime: Lifetime, folder = '.'): Promise<string> {
  const image = `bucketdisk-test:${newName('image')}`;
  // A client without buildx still builds the old way, where it is told to.
  const buildx = await docker(['buildx', 'version'], { okCodes: null });
  const env = { DOCKER_BUILDKIT: buildx.code === 0 ? undefined : '0' };
  onEnd(lifetime, async () => void (await docker(['rmi', '-f', '--no-prune', image], { okCodes: null })));
  await docker(['build', '--network=host', '-t', image, join(ROOT, folder)], { env, timeoutMs: BUILD_TIMEOUT_MS });
  return image;
}

/** A container by its name or id. */
export class Container {
  readonly name: string;

  constructor(name: string) {
    this.name = name;
  }

  /** Where the export is now: each start may publish another port. */
  async uri(exportName: string): Promise<string> {
    return `nbd://${await this.published(10809)}/${exportName}`;
  }

  /** The address of this machine that the port is published on. */
  async published(port: number): Promise<string> {
    const { stdout } = await docker(['port', this.name, `${port}/tcp`]);
    return stdout.trim().split('\n')[0] ?? '';
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

  health(): Promise<string> {
    return this.inspect('{{.State.Health.Status}}');
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
