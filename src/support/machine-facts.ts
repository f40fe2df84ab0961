/** What a bundle tells of the machine: versions, mounts, devices. Read from the kernel; no program that could hang is asked. */
import { readdirSync, readFileSync } from 'node:fs';
import { arch, cpus, freemem, loadavg, platform, release, totalmem, uptime } from 'node:os';

export function versionFacts(version: string): string {
  return json({
    bucketdisk: version,
    node: process.versions.node,
    openssl: process.versions.openssl,
    zlib: process.versions.zlib,
    platform: `${platform()} ${arch()}`,
    kernel: release(),
    system: read('/etc/os-release').match(/^PRETTY_NAME="?([^"\n]*)/m)?.[1] ?? 'unknown',
    container: read('/proc/self/cgroup').trim(),
    processors: cpus().length,
    memoryBytes: totalmem(),
    memoryFreeBytes: freemem(),
    load: loadavg(),
    uptimeSeconds: Math.round(uptime()),
    uid: process.getuid?.() ?? null,
    limits: read('/proc/self/limits').split('\n'),
  });
}

/** The table of mounts, and of loop devices those that are in use with the files behind them. */
export function mountFacts(): string {
  const loops = list('/sys/block')
    .filter((name) => /^loop\d+$/.test(name))
    .map((name) => [name, read(`/sys/block/${name}/loop/backing_file`).trim()])
    .filter(([, file]) => file !== '')
    .map(([name, file]) => `/dev/${name} ${file}`);
  return `${read('/proc/self/mountinfo')}\nloop devices:\n${loops.join('\n')}\n`;
}

/** Which variables there are. Their values are in the configuration, masked, or are nobody's business. */
export function environmentFacts(env: Readonly<Record<string, string | undefined>>): string {
  const names = Object.keys(env).filter((name) =>
    /^(BUCKETDISK|AWS|NODE|HTTPS?_PROXY|NO_PROXY|KUBERNETES_SERVICE_HOST)/i.test(name),
  );
  return names
    .sort()
    .map((name) => `${name} is set\n`)
    .join('');
}

export function json(value: unknown): string {
  return `${JSON.stringify(value, null, 2)}\n`;
}

function read(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}

function list(directory: string): string[] {
  try {
    return readdirSync(directory);
  } catch {
    return [];
  }
}
