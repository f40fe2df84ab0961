/**
 * A Docker daemon of the test run's own, where nobody runs one and Debian's docker.io is installed: started beside the tests,
 * ended with them. What it has built is kept in the user's cache, so that the next run builds only what has changed.
 */
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { homedir, tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { type Lifetime, onEnd } from './cleanup.ts';
import { BASE_IMAGES, makeBaseImages } from './docker-images.ts';
import { runCommand, startProcess } from './run-command.ts';
import { findProgram } from './tools.ts';

/** Names the daemon for the test files, as it does for docker itself. */
const HOST_ENV = 'DOCKER_HOST';
const PACKAGES = 'docker.io docker-compose iptables debootstrap';
const BRIDGE = '/sys/class/net/docker0';
const UP_TIMEOUT_MS = 60_000;

/**
 * Sets DOCKER_HOST where it has started a daemon; says why not where it has not. Does nothing where there is one already, and
 * under CI=true, where the tests of the image are not run.
 */
export async function offerDocker(lifetime: Lifetime, say: (line: string) => void): Promise<void> {
  if (process.env.CI === 'true' || process.getuid?.() !== 0 || (await answers())) return;
  const missing = ['docker', 'dockerd', 'debootstrap', 'setpriv'].filter((name) => findProgram(name) === null);
  if (missing.length > 0) {
    say(`no docker daemon, and none to start without ${missing.join(', ')}: apt-get install ${PACKAGES}`);
    return;
  }
  try {
    await startDaemon(lifetime);
    await makeBaseImages(BASE_IMAGES, say);
  } catch (error) {
    say(`no docker daemon: ${error instanceof Error ? error.message : String(error)}`);
  }
}

/** Where what is slow to make is kept between runs. */
export function dockerCacheDir(): string {
  return join(process.env.XDG_CACHE_HOME ?? join(homedir(), '.cache'), 'bucketdisk-test', 'docker');
}

async function answers(): Promise<boolean> {
  if (findProgram('docker') === null) return false;
  return (await runCommand('docker', ['info'], { okCodes: null }).catch(() => null))?.code === 0;
}

async function startDaemon(lifetime: Lifetime): Promise<void> {
  const data = join(dockerCacheDir(), 'data');
  await mkdir(data, { recursive: true });
  const dir = await mkdtemp(join(tmpdir(), 'bucketdisk-dockerd-'));
  const hadBridge = existsSync(BRIDGE);
  onEnd(lifetime, async () => {
    // What dockerd does not take away itself.
    await runCommand('umount', ['-l', join(dir, 'exec', 'netns', 'default')], { okCodes: null });
    if (!hadBridge) await runCommand('ip', ['link', 'delete', 'docker0'], { okCodes: null }).catch(() => {});
    await rm(dir, { recursive: true, force: true, maxRetries: 5 });
  });
  const host = `unix://${join(dir, 'docker.sock')}`;
  // The pid file lies with the data: a second daemon on the same data is refused.
  const places = ['--data-root', data, '--exec-root', join(dir, 'exec'), '--pidfile', join(data, '..', 'dockerd.pid')];
  // Gone with this process even where that is killed outright.
  const daemon = startProcess(lifetime, 'setpriv', ['--pdeathsig', 'SIGTERM', 'dockerd', '-H', host, ...places]);
  process.env[HOST_ENV] = host;
  onEnd(lifetime, () => void delete process.env[HOST_ENV]);
  const deadline = performance.now() + UP_TIMEOUT_MS;
  while (!(await answers())) {
    if (!daemon.running || performance.now() > deadline) {
      delete process.env[HOST_ENV];
      throw new Error(`dockerd does not answer: ${daemon.stderr.trim().split('\n').slice(-3).join('\n')}`);
    }
    await delay(200);
  }
}
