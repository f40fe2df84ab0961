/** Checks of the process and what limits it: Node, descriptors, memory, capabilities. */
import type { Settings } from '../../config/settings.ts';
import { approximateSize } from '../../lib/units.ts';
import type { Facts } from '../facts.ts';
import { fail, ok, type Result, warn } from '../finding.ts';
import type { Machine } from '../machine.ts';

const NODE_MAJOR_MIN = 24;

export function checkNode({ nodeVersion }: Machine): Result[] {
  const [major = 0] = nodeVersion.split('.').map(Number);
  if (major < NODE_MAJOR_MIN) {
    return [fail(`Node ${nodeVersion} is too old`, `install Node ${NODE_MAJOR_MIN} or newer`)];
  }
  if (major % 2 === 1) {
    return [warn(`Node ${nodeVersion} is no release with long support`, 'use one with an even number')];
  }
  return [ok(`Node ${nodeVersion}`)];
}

/** Bit of CAP_SYS_ADMIN in the sets of /proc/PID/status (capabilities(7)). */
const CAP_SYS_ADMIN = 21n;

export function checkCapabilities(machine: Machine, facts: Pick<Facts, 'running'> & Mounting): Result[] {
  const who = processOf(facts);
  const set = /^CapEff:\s*([0-9a-f]+)$/m.exec(machine.readText(`/proc/${who}/status`) ?? '')?.[1];
  if (set === undefined) return [warn(`the capabilities cannot be read from /proc/${who}/status`)];
  if ((BigInt(`0x${set}`) >> CAP_SYS_ADMIN) & 1n) return [ok('CAP_SYS_ADMIN, which mounting needs')];
  const remedy = 'run it as root; a container needs --cap-add SYS_ADMIN and --device /dev/fuse';
  const lacking = 'without CAP_SYS_ADMIN nothing can be mounted';
  return [
    facts.mounting
      ? fail(`${lacking}, and fuse.dir is set`, remedy)
      : warn(`${lacking}; serving NBD does not need it`, remedy),
  ];
}

/** Descriptors besides connections and requests: listeners, logs, the control socket, Node's own. */
const DESCRIPTORS_BASE = 64;
/** Of a volume: the files of its log and its read cache. */
const DESCRIPTORS_PER_VOLUME = 24;

export function checkDescriptors(machine: Machine, { settings, running }: Facts): Result[] {
  const limits = machine.readText(`/proc/${processOf({ running })}/limits`) ?? '';
  const soft = /^Max open files\s+(\d+|unlimited)/m.exec(limits)?.[1];
  if (soft === undefined) return [warn('the limit of open files cannot be read')];
  const { nbd, store, volumes } = settings;
  const volumeCount = Object.keys(volumes).length;
  const needed = DESCRIPTORS_BASE + nbd.connectionsMax + store.concurrency + DESCRIPTORS_PER_VOLUME * volumeCount;
  if (soft === 'unlimited' || Number(soft) >= needed) return [ok(`${soft} open files allowed, ${needed} needed`)];
  return [
    fail(
      `only ${soft} open files are allowed, and ${needed} may be needed`,
      `raise it: "ulimit -n 65536" in a shell, LimitNOFILE=65536 in a systemd unit, --ulimit nofile=65536 for a container`,
    ),
  ];
}

const MIB = 2 ** 20;
/** Node itself, the SDK, indexes of a cache of some size. */
const MEMORY_BASE_BYTES = 192 * MIB;
/** What blocks on their way take at most, whatever their size. */
const BLOCKS_BYTES_MAX = 256 * MIB;
const BLOCK_BYTES_DEFAULT = MIB;

export function memoryNeeded({ nbd, store, volumes }: Settings): number {
  const blockBytes = Math.max(
    ...Object.values(volumes).map(({ blockSizeBytes }) => blockSizeBytes ?? BLOCK_BYTES_DEFAULT),
    0,
  );
  return MEMORY_BASE_BYTES + nbd.inFlightBytesMax + Math.min(BLOCKS_BYTES_MAX, 2 * store.concurrency * blockBytes);
}

export function checkMemory(machine: Machine, { settings, running }: Facts): Result[] {
  const limit = cgroupLimit(machine, processOf({ running }));
  const total = Number(/^MemTotal:\s+(\d+) kB/m.exec(machine.readText('/proc/meminfo') ?? '')?.[1] ?? 'NaN') * 1024;
  const bytes = Math.min(limit ?? Number.POSITIVE_INFINITY, Number.isNaN(total) ? Number.POSITIVE_INFINITY : total);
  if (bytes === Number.POSITIVE_INFINITY) return [warn('the memory cannot be told')];
  const needed = memoryNeeded(settings);
  const what = limit !== null && limit === bytes ? 'the memory limit (cgroup) is' : 'the machine has';
  if (bytes >= needed) return [ok(`${what} ${approximateSize(bytes)}, ${approximateSize(needed)} may be needed`)];
  return [
    warn(
      `${what} ${approximateSize(bytes)}, and ${approximateSize(needed)} may be needed: the kernel would kill the appliance`,
      'raise it, or lower nbd.inFlight, store.concurrency or the block size',
    ),
  ];
}

/** The tightest limit of the cgroup and those above it; null: none. Version 2, and version 1's memory controller. */
function cgroupLimit(machine: Machine, who: string): number | null {
  const lines = (machine.readText(`/proc/${who}/cgroup`) ?? '').split('\n').map((line) => line.split(':'));
  const limits = lines.flatMap(([id, controllers = '', path = '']) => {
    const isMemory = controllers.split(',').includes('memory');
    if (id !== '0' && !isMemory) return [];
    const [root, file] = isMemory
      ? ['/sys/fs/cgroup/memory', 'memory.limit_in_bytes']
      : ['/sys/fs/cgroup', 'memory.max'];
    // In a container the path may be the host's, and only the root is there.
    return pathsUp(path).map((at) => Number(machine.readText(`${root}${at}/${file}`)?.trim() || 'NaN'));
  });
  // Version 1 tells "none" as a number beyond all memory.
  const real = limits.filter((bytes) => Number.isFinite(bytes) && bytes > 0 && bytes < 2 ** 60);
  return real.length === 0 ? null : Math.min(...real);
}

/** `/a/b`: itself, `/a` and the empty path. */
function pathsUp(path: string): string[] {
  const parts = path.split('/').filter((part) => part !== '');
  return parts.map((_, index) => `/${parts.slice(0, parts.length - index).join('/')}`).concat('');
}

interface Mounting {
  /** Whether the configuration asks for a mount. */
  readonly mounting: boolean;
}

/** The process that counts: the appliance's, or one that is started as this one was. */
function processOf({ running }: Pick<Facts, 'running'>): string {
  return running?.pid == null ? 'self' : String(running.pid);
}
