/**
 * The kernel and the root of a test guest: Debian's cloud kernel with the real nbd.ko, and an initramfs with nbd-client and
 * the tools of the filesystems. Made once of Debian's packages, nothing of which is installed, and kept in the user's cache.
 */
import { createHash } from 'node:crypto';
import { chmod, cp, mkdir, mkdtemp, readdir, readFile, rename, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { homedir } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { runCommand } from '../run-command.ts';
import { findProgram, type Tool } from '../tools.ts';

export interface GuestImage {
  readonly kernel: string;
  readonly initrd: string;
}

/** What making and running a guest takes, for `requireTools`. */
export const GUEST_TOOLS: readonly Tool[] = [
  'qemu-system-x86_64',
  'cpio',
  'busybox',
  'nbd-client',
  'mkfs.ext4',
  'e2fsck',
  'mkfs.xfs',
  'xfs_repair',
  'mkfs.btrfs',
  'btrfs',
  'fstrim',
];

/** Those that busybox lacks, or has too little of. */
const PROGRAMS = [
  'bash',
  'dd',
  'cmp',
  'nbd-client',
  'mke2fs',
  'e2fsck',
  'resize2fs',
  'mkfs.xfs',
  'xfs_repair',
  'xfs_growfs',
  'mkfs.btrfs',
  'btrfs',
  'fstrim',
];
const LINKS = { 'mkfs.ext4': 'mke2fs' };
const MODULES = ['virtio_pci', 'virtio_net', 'virtio_blk', 'virtio_rng', 'nbd', 'ext4', 'xfs', 'btrfs'];
/** Names a package of the newest kernel of this Debian. */
const KERNEL_METAPACKAGE = 'linux-image-cloud-amd64';
const APT_TIMEOUT_MS = 300_000;
const INIT = fileURLToPath(new URL('init.sh', import.meta.url));

/** Makes it where it is not there yet. Rejects where the packages cannot be had. */
export async function guestImage(): Promise<GuestImage> {
  const recipe = createHash('sha256');
  for (const file of [fileURLToPath(import.meta.url), INIT]) recipe.update(await readFile(file));
  const cache = join(process.env.XDG_CACHE_HOME ?? join(homedir(), '.cache'), 'bucketdisk-test');
  const dir = join(cache, `guest-${recipe.digest('hex').slice(0, 16)}`);
  const image = { kernel: join(dir, 'vmlinuz'), initrd: join(dir, 'root.cpio') };
  if (await exists(image.initrd)) return image;
  await mkdir(cache, { recursive: true });
  const work = await mkdtemp(join(cache, 'making-'));
  try {
    await make(work);
    // Another run may have been quicker; one is as good as the other.
    await rename(work, dir).catch(async (error: unknown) => {
      if (!(await exists(image.initrd))) throw error;
    });
  } finally {
    await rm(work, { recursive: true, force: true });
  }
  return image;
}

/** In an archive of its own, for the kernel to unpack over the root: appended to `root.cpio`, it makes an initrd. */
export async function packDirectory(dir: string): Promise<Buffer> {
  const file = `${dir}.cpio`;
  const script = 'cd "$1" && find . | cpio -o -H newc --quiet > "$2"';
  await runCommand('sh', ['-c', script, 'sh', dir, file]);
  const packed = await readFile(file);
  await rm(file);
  return packed;
}

async function make(dir: string): Promise<void> {
  const packages = join(dir, 'packages');
  const unpacked = join(dir, 'unpacked');
  const root = join(dir, 'root');
  await mkdir(packages);
  await download(packages);
  for (const name of await readdir(packages)) {
    await runCommand('dpkg-deb', ['-x', join(packages, name), unpacked]);
  }
  const [version = ''] = await readdir(join(unpacked, 'lib/modules'));
  await cp(join(unpacked, `boot/vmlinuz-${version}`), join(dir, 'vmlinuz'));
  for (const name of ['bin', 'etc', 'proc', 'sys', 'dev', 'run', 'tmp', 'mnt', 'var/lock']) {
    await mkdir(join(root, name), { recursive: true });
  }
  for (const name of ['sbin', 'usr']) await symlink(name === 'usr' ? '.' : 'bin', join(root, name));
  await addPrograms(root);
  await addModules(unpacked, root, version);
  // Without it mke2fs makes a filesystem that has no journal.
  await cp('/etc/mke2fs.conf', join(root, 'etc/mke2fs.conf'));
  await symlink('/proc/mounts', join(root, 'etc/mtab'));
  await cp(INIT, join(root, 'init'));
  await chmod(join(root, 'init'), 0o755);
  await writeFile(join(dir, 'root.cpio'), await packDirectory(root));
  for (const used of [packages, unpacked, root]) await rm(used, { recursive: true });
}

async function download(dir: string): Promise<void> {
  const options = { timeoutMs: APT_TIMEOUT_MS, cwd: dir };
  const kernelPackage = async (): Promise<string | undefined> => {
    const { stdout } = await runCommand('apt-cache', ['depends', KERNEL_METAPACKAGE], { okCodes: null });
    return /Depends: (linux-image-\S+)/.exec(stdout)?.[1];
  };
  if ((await kernelPackage()) === undefined) {
    await runCommand('apt-get', ['-o', 'DPkg::Lock::Timeout=300', 'update', '-q'], options);
  }
  const kernel = await kernelPackage();
  if (kernel === undefined) throw new Error(`apt knows no ${KERNEL_METAPACKAGE}`);
  await runCommand('apt-get', ['download', '-q', kernel, 'kmod'], options);
}

async function addPrograms(root: string): Promise<void> {
  const busybox = findProgram('busybox') ?? '';
  await cp(busybox, join(root, 'bin/busybox'));
  const { stdout: applets } = await runCommand(busybox, ['--list']);
  for (const applet of applets.trim().split('\n')) {
    const ours = PROGRAMS.includes(applet) || applet in LINKS || applet === 'busybox';
    if (!ours) await symlink('busybox', join(root, 'bin', applet));
  }
  for (const program of PROGRAMS) {
    const path = findProgram(program);
    if (path === null) throw new Error(`${program} is not installed`);
    await cp(path, join(root, 'bin', program), { dereference: true });
    const { stdout } = await runCommand('ldd', [path]);
    for (const [library = ''] of stdout.matchAll(/\/\S+/g)) await addFile(library, join(root, library));
  }
  for (const [link, program] of Object.entries(LINKS)) await symlink(program, join(root, 'bin', link));
}

async function addModules(unpacked: string, root: string, version: string): Promise<void> {
  const kmod = join(unpacked, 'bin/kmod');
  const tool = async (name: string, args: readonly string[]): Promise<string> => {
    const link = join(unpacked, name);
    if (!(await exists(link))) await symlink(kmod, link);
    return (await runCommand(link, args)).stdout;
  };
  await tool('depmod', ['-b', unpacked, version]);
  for (const module of MODULES) {
    const wanted = await tool('modprobe', ['-d', unpacked, '-S', version, '--show-depends', module]);
    for (const [, path = ''] of wanted.matchAll(/^insmod (\S+)/gm)) await addFile(path, path.replace(unpacked, root));
  }
  const lists = join('lib/modules', version);
  for (const name of ['modules.order', 'modules.builtin', 'modules.builtin.modinfo']) {
    await addFile(join(unpacked, lists, name), join(root, lists, name));
  }
  await tool('depmod', ['-b', root, version]);
}

async function addFile(from: string, to: string): Promise<void> {
  if (await exists(to)) return;
  await mkdir(dirname(to), { recursive: true });
  await cp(from, join(dirname(to), basename(to)), { dereference: true });
}

async function exists(path: string): Promise<boolean> {
  return await stat(path).then(
    () => true,
    () => false,
  );
}
