/** A single-node Ceph cluster with its S3 gateway, on loopback, in a temporary directory: a real S3 server to test against. */
import { randomUUID } from 'node:crypto';
import { mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { type Lifetime, onEnd } from './cleanup.ts';
import { type CommandOptions, type RunningProcess, runCommand, startProcess } from './run-command.ts';
import type { Tool } from './tools.ts';

export const CEPH_TOOLS: readonly Tool[] = ['ceph', 'ceph-mon', 'ceph-mgr', 'ceph-osd', 'radosgw', 'setpriv'];

export interface CephAddress {
  readonly endpoint: string;
  readonly region: string;
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
}

/** Names the file in which the test run tells where its gateway is. */
export const CEPH_STATE_ENV = 'TEST_CEPH_STATE';

/** What that file holds, once it is known. */
export type CephState = CephAddress | { readonly error: string };

export interface CephCluster {
  readonly address: CephAddress;
  readonly dir: string;
}

/** What the test run keeps of Ceph; the process id follows, so that what a killed run left can be told and swept. */
export const CEPH_DIR_PREFIX = join(tmpdir(), 'bucketdisk-ceph-');
/** setpriv's: the program is gone with this process even where that is killed outright. */
const WITH_US = ['--pdeathsig', 'SIGKILL'];
const ACCESS_KEY_ID = 'testkey';
const SECRET_ACCESS_KEY = 'testsecret';
const UP_TIMEOUT_MS = 120_000;

/** Starts a cluster and waits until it serves. It is stopped and wiped when the lifetime ends. Needs root. */
export async function startCeph(lifetime: Lifetime): Promise<CephCluster> {
  await sweep();
  const dir = await mkdtemp(`${CEPH_DIR_PREFIX}${process.pid}-`);
  onEnd(lifetime, () => rm(dir, { recursive: true, force: true, maxRetries: 5 }));
  for (const name of ['mon', 'mgr', 'osd', 'rgw', 'run', 'log']) await mkdir(join(dir, name));
  const [monV2Port, monV1Port, gatewayPort] = (await freePorts(3)) as [number, number, number];
  const ceph = new Commands(lifetime, dir);
  const fsid = randomUUID();
  await writeFile(ceph.conf, configuration({ dir, fsid, monV2Port, monV1Port, gatewayPort }));
  await makeKeyrings(ceph, join(dir, 'keyring'));
  await startMonitor(ceph, dir, fsid, `[v2:127.0.0.1:${monV2Port},v1:127.0.0.1:${monV1Port}]`);
  await startStorage(ceph);
  ceph.daemon('ceph-mgr', ['-i', 'a']);
  const gateway = ceph.daemon('radosgw', ['-n', 'client.rgw.a']);
  await makeUser(ceph);
  const endpoint = `http://127.0.0.1:${gatewayPort}`;
  await until('the gateway answers', async () => {
    if (!gateway.running) throw new Error(`radosgw ended: ${gateway.stderr}`);
    const answer = await fetch(endpoint);
    await answer.arrayBuffer();
    return answer.status < 500;
  });
  const address = { endpoint, region: 'us-east-1', accessKeyId: ACCESS_KEY_ID, secretAccessKey: SECRET_ACCESS_KEY };
  return { address, dir };
}

/** The cluster's programs, all told of its configuration. */
class Commands {
  readonly conf: string;
  readonly #lifetime: Lifetime;

  constructor(lifetime: Lifetime, dir: string) {
    this.#lifetime = lifetime;
    this.conf = join(dir, 'ceph.conf');
  }

  async run(program: string, args: readonly string[], options: CommandOptions = {}): Promise<string> {
    const own = [...WITH_US, program, '-c', this.conf];
    const { stdout } = await runCommand('setpriv', [...own, ...args], { timeoutMs: 60_000, ...options });
    return stdout.trim();
  }

  /** In the foreground. */
  daemon(program: string, args: readonly string[]): RunningProcess {
    const own = [...WITH_US, program, '-f', '-c', this.conf, '--setuser', 'root', '--setgroup', 'root'];
    // All of it is wiped: there is nothing to stop gently for.
    return startProcess(this.#lifetime, 'setpriv', [...own, ...args], { endSignal: 'SIGKILL' });
  }
}

async function makeKeyrings(ceph: Commands, keyring: string): Promise<void> {
  const everything = ['--cap', 'osd', 'allow *', '--cap', 'mds', 'allow *'];
  const identities: Readonly<Record<string, readonly string[]>> = {
    'mon.': ['--cap', 'mon', 'allow *'],
    'client.admin': ['--cap', 'mon', 'allow *', '--cap', 'mgr', 'allow *', ...everything],
    'mgr.a': ['--cap', 'mon', 'allow profile mgr', ...everything],
    'osd.0': ['--cap', 'mon', 'allow profile osd', '--cap', 'mgr', 'allow profile osd', '--cap', 'osd', 'allow *'],
    'client.rgw.a': ['--cap', 'mon', 'allow rw', '--cap', 'osd', 'allow rwx', '--cap', 'mgr', 'allow rw'],
  };
  let create = ['--create-keyring'];
  for (const [name, caps] of Object.entries(identities)) {
    await ceph.run('ceph-authtool', [...create, keyring, '--gen-key', '-n', name, ...caps]);
    create = [];
  }
}

async function startMonitor(ceph: Commands, dir: string, fsid: string, address: string): Promise<void> {
  const map = join(dir, 'monmap');
  await ceph.run('monmaptool', ['--create', '--clobber', '--fsid', fsid, '--addv', 'a', address, map]);
  const asRoot = ['--setuser', 'root', '--setgroup', 'root'];
  await ceph.run('ceph-mon', ['--mkfs', '-i', 'a', '--monmap', map, '--keyring', join(dir, 'keyring'), ...asRoot]);
  const monitor = ceph.daemon('ceph-mon', ['-i', 'a']);
  await until('the monitor answers', async () => {
    if (!monitor.running) throw new Error(`ceph-mon ended: ${monitor.stderr}`);
    await ceph.run('ceph', ['--connect-timeout', '5', 'mon', 'stat'], { timeoutMs: 10_000 });
    return true;
  });
}

async function startStorage(ceph: Commands): Promise<void> {
  const uuid = randomUUID();
  const id = await ceph.run('ceph', ['osd', 'new', uuid]);
  const asRoot = ['--setuser', 'root', '--setgroup', 'root'];
  await ceph.run('ceph-osd', ['-i', id, '--mkfs', '--osd-uuid', uuid, ...asRoot], { timeoutMs: UP_TIMEOUT_MS });
  const storage = ceph.daemon('ceph-osd', ['-i', id]);
  await until('the OSD is up', async () => {
    if (!storage.running) throw new Error(`ceph-osd ended: ${storage.stderr}`);
    return / 1 up/.test(await ceph.run('ceph', ['osd', 'stat'], { timeoutMs: 10_000 }));
  });
}

async function makeUser(ceph: Commands): Promise<void> {
  const keys = ['--access-key', ACCESS_KEY_ID, '--secret-key', SECRET_ACCESS_KEY];
  const args = ['user', 'create', '--uid', 'test', '--display-name', 'test', ...keys];
  await ceph.run('radosgw-admin', args, { timeoutMs: UP_TIMEOUT_MS });
}

/** Asks until it is true, passing over failures on the way; the last of them is the cause where time runs out. */
async function until(what: string, ask: () => Promise<boolean>): Promise<void> {
  const deadline = performance.now() + UP_TIMEOUT_MS;
  let cause: unknown;
  while (performance.now() < deadline) {
    try {
      if (await ask()) return;
    } catch (error) {
      cause = error;
    }
    await delay(200);
  }
  throw new Error(`waited ${UP_TIMEOUT_MS} ms in vain until ${what}`, { cause });
}

/** Ports nobody listens on now. Held all at once, so that they differ. */
async function freePorts(count: number): Promise<number[]> {
  const servers = Array.from({ length: count }, () => createServer());
  const ports = await Promise.all(
    servers.map(
      (server) =>
        new Promise<number>((resolve, reject) => {
          server.once('error', reject);
          server.listen(0, '127.0.0.1', () => {
            const address = server.address();
            resolve(typeof address === 'object' && address !== null ? address.port : 0);
          });
        }),
    ),
  );
  await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))));
  return ports;
}

/** Removes what test runs left behind that were killed before they could. Their daemons died with them. */
async function sweep(): Promise<void> {
  for (const name of await readdir(tmpdir())) {
    const pid = new RegExp(`^${basename(CEPH_DIR_PREFIX)}(\\d+)-`).exec(name)?.[1];
    if (pid === undefined || isRunning(Number(pid))) continue;
    await rm(join(tmpdir(), name), { recursive: true, force: true });
  }
}

export function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

interface Addresses {
  readonly dir: string;
  readonly fsid: string;
  readonly monV2Port: number;
  readonly monV1Port: number;
  readonly gatewayPort: number;
}

/** One copy of everything, small caches, no network but loopback. */
function configuration({ dir, fsid, monV2Port, monV1Port, gatewayPort }: Addresses): string {
  return `[global]
fsid = ${fsid}
mon initial members = a
mon host = [v2:127.0.0.1:${monV2Port},v1:127.0.0.1:${monV1Port}]
ms bind ipv6 = false
public addr = 127.0.0.1
cluster addr = 127.0.0.1
keyring = ${dir}/keyring
auth allow insecure global id reclaim = true
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 8
osd pool default pgp num = 8
osd pool default pg autoscale mode = off
mon allow pool size one = true
mon max pg per osd = 1000
osd crush chooseleaf type = 0
run dir = ${dir}/run
admin socket = ${dir}/run/$name.asok
log file = ${dir}/log/$name.log
crash dir = ${dir}/log
mon data avail warn = 1
mon data avail crit = 1
[mon.a]
mon data = ${dir}/mon
[mgr]
mgr data = ${dir}/mgr
mgr initial modules =
[osd]
osd data = ${dir}/osd
osd objectstore = bluestore
bluestore block size = 21474836480
bluestore block create = true
bluestore block db create = false
bluestore fsck on mount = false
bluestore cache autotune = false
bluestore cache size = 268435456
osd memory target = 939524096
osd op num shards = 2
osd op num threads per shard = 1
[client.rgw.a]
rgw data = ${dir}/rgw
rgw frontends = beast endpoint=127.0.0.1:${gatewayPort}
rgw enable ops log = false
rgw enable usage log = false
rgw thread pool size = 64
rgw enable quota threads = false
rgw crypt require ssl = false
rgw crypt s3 kms backend = testing
rgw crypt s3 kms encryption keys = testkey-1=${Buffer.alloc(32, 'k').toString('base64')}
`;
}
