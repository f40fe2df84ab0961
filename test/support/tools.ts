/** What tests need of the machine: programs from Debian's packages, and what only a kernel or a user id can give. */
import { spawnSync } from 'node:child_process';
import { accessSync, closeSync, constants, openSync, readFileSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import type { TestContext } from 'node:test';

/** Programs, and `python3-libnbd`, which is a module: each with the Debian package that has it. */
export const PACKAGE_OF_TOOL = {
  nbdinfo: 'libnbd-bin',
  nbdcopy: 'libnbd-bin',
  nbdfuse: 'libnbd-bin',
  nbdkit: 'nbdkit',
  'nbd-client': 'nbd-client',
  'qemu-img': 'qemu-utils',
  'qemu-io': 'qemu-utils',
  fio: 'fio',
  'qemu-system-x86_64': 'qemu-system-x86',
  cpio: 'cpio',
  busybox: 'busybox-static',
  'python3-libnbd': 'python3-libnbd',
  s3backer: 's3backer',
  fusermount3: 'fuse3',
  'mkfs.ext4': 'e2fsprogs',
  debugfs: 'e2fsprogs',
  e2fsck: 'e2fsprogs',
  'mkfs.xfs': 'xfsprogs',
  xfs_db: 'xfsprogs',
  xfs_repair: 'xfsprogs',
  'mkfs.btrfs': 'btrfs-progs',
  btrfs: 'btrfs-progs',
  strace: 'strace',
  ceph: 'ceph-common',
  'ceph-mon': 'ceph-mon',
  'ceph-mgr': 'ceph-mgr',
  'ceph-osd': 'ceph-osd',
  radosgw: 'radosgw',
  openssl: 'openssl',
  certtool: 'gnutls-bin',
  psktool: 'gnutls-bin',
  promtool: 'prometheus',
  chromium: 'chromium',
  losetup: 'mount',
  mount: 'mount',
  fstrim: 'util-linux',
  setpriv: 'util-linux',
  unshare: 'util-linux',
  bash: 'bash',
  zsh: 'zsh',
  fish: 'fish',
  mandoc: 'mandoc',
  man: 'man-db',
} as const;

export type Tool = keyof typeof PACKAGE_OF_TOOL;

/** What no package can give. The docker client is one of them: a test image needs a daemon that somebody runs. */
export type Facility = 'root' | 'fuse' | 'loop' | 'docker' | 'ext4' | 'xfs' | 'btrfs';

/** Where Debian's own programs are, also for a user whose PATH lacks the sbin directories. */
const SYSTEM_DIRS = ['/usr/local/sbin', '/usr/sbin', '/sbin', '/usr/bin', '/bin'];
const DEBIAN_PYTHON = '/usr/bin/python3';

/** The path of a program, or null. */
export function findProgram(name: string): string | null {
  for (const dir of [...(process.env.PATH ?? '').split(delimiter), ...SYSTEM_DIRS]) {
    if (dir === '') continue;
    const path = join(dir, name);
    try {
      accessSync(path, constants.X_OK);
      return path;
    } catch {
      // Not in this one.
    }
  }
  return null;
}

/** The path of a tool that `requireTools` has let pass; the Python that knows libnbd for `python3-libnbd`. */
export function toolPath(tool: Tool): string {
  const path = tool === 'python3-libnbd' ? DEBIAN_PYTHON : findProgram(tool);
  if (path === null) throw new Error(`${tool} is not installed (Debian package ${PACKAGE_OF_TOOL[tool]})`);
  return path;
}

export function missingTools(tools: readonly Tool[]): Tool[] {
  return tools.filter((tool) => {
    if (tool !== 'python3-libnbd') return findProgram(tool) === null;
    return spawnSync(DEBIAN_PYTHON, ['-c', 'import nbd'], { stdio: 'ignore' }).status !== 0;
  });
}

/** True where all tools are there. Otherwise skips the test with the reason, or fails it where CI is `true`. */
export function requireTools(t: TestContext, tools: readonly Tool[]): boolean {
  const reason = reasonToSkip(missingTools(tools), process.env.CI === 'true');
  if (reason !== null) t.skip(reason);
  return reason === null;
}

/** The same as options for `test` or `describe`. */
export function toolsOrSkip(tools: readonly Tool[]): { skip: string | false } {
  return { skip: reasonToSkip(missingTools(tools), process.env.CI === 'true') ?? false };
}

/** Why a test cannot run, or null where nothing is missing. In CI nothing that can be installed may be: throws. */
export function reasonToSkip(missing: readonly Tool[], ci: boolean): string | null {
  if (missing.length === 0) return null;
  const packages = new Set(missing.map((tool) => PACKAGE_OF_TOOL[tool]));
  const reason = `needs ${missing.join(', ')}: apt-get install ${[...packages].join(' ')}`;
  if (ci) throw new Error(`${reason}; under CI=true that is a failure`);
  return reason;
}

/** True where the machine has all of them. Otherwise skips the test with the reason, in CI too: nothing can be installed. */
export function requireFacilities(t: TestContext, facilities: readonly Facility[]): boolean {
  const missing = reasonsWithout(facilities);
  if (missing.length > 0) t.skip(missing.join('; '));
  return missing.length === 0;
}

/** What the machine lacks of them, a reason each. */
export function reasonsWithout(facilities: readonly Facility[]): string[] {
  return facilities.map(reasonWithoutFacility).filter((reason) => reason !== null);
}

function reasonWithoutFacility(facility: Facility): string | null {
  switch (facility) {
    case 'root':
      return process.getuid?.() === 0 ? null : 'needs root';
    case 'fuse':
      return canOpen('/dev/fuse') ? null : 'needs /dev/fuse';
    case 'loop':
      return canOpen('/dev/loop-control') ? null : 'needs loop devices (/dev/loop-control)';
    case 'docker':
      return spawnSync('docker', ['info'], { stdio: 'ignore', timeout: 20_000 }).status === 0
        ? null
        : 'needs a docker daemon';
    default:
      return kernelMounts(facility) ? null : `needs a kernel with ${facility}`;
  }
}

function canOpen(path: string): boolean {
  try {
    closeSync(openSync(path, 'r+'));
    return true;
  } catch {
    return false;
  }
}

/** A filesystem is listed once it is loaded; root may load it. */
function kernelMounts(filesystem: string): boolean {
  const listed = (): boolean =>
    readFileSync('/proc/filesystems', 'utf8')
      .split('\n')
      .some((line) => line.trim().split(/\s+/).at(-1) === filesystem);
  if (listed()) return true;
  spawnSync('modprobe', [filesystem], { stdio: 'ignore' });
  return listed();
}
