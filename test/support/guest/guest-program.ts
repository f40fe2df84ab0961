/** The program itself for a guest: a disk with Node, the source, what that needs of npm, and the tools it calls. */
import { cp, mkdir, readFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Lifetime } from '../cleanup.ts';
import { runCommand } from '../run-command.ts';
import { tempDir } from '../temp.ts';
import { findProgram } from '../tools.ts';

const ROOT = fileURLToPath(new URL('../../..', import.meta.url));
/** Those of which busybox has too little for `bucketdisk mount`. */
const PROGRAMS = ['blkid', 'mount', 'umount', 'realpath', 'sync'];
const DISK_SIZE = '320M';
const MAKE_TIMEOUT_MS = 120_000;

export interface GuestProgram {
  /** For `GuestOptions.qemu`. */
  readonly qemu: readonly string[];
  /** Bash for the start of a job: from then on `bucketdisk` is a command. */
  readonly prelude: string;
}

/** Made anew for each test, of what is in the working tree. */
export async function guestProgram(lifetime: Lifetime): Promise<GuestProgram> {
  const dir = await tempDir(lifetime, 'guest-program');
  const tree = join(dir, 'tree');
  // Built: Node would take the types away each time it starts, which takes minutes where every instruction is emulated.
  await runCommand(process.execPath, [
    join(ROOT, 'node_modules/typescript/bin/tsc'),
    ...['-p', join(ROOT, 'tsconfig.build.json'), '--outDir', join(tree, 'app/dist')],
  ]);
  for (const name of ['package.json', 'config']) {
    await cp(join(ROOT, name), join(tree, 'app', name), { recursive: true });
  }
  for (const name of await modules()) {
    await cp(join(ROOT, name), join(tree, 'app', name), { recursive: true, verbatimSymlinks: true });
  }
  await addProgram(process.execPath, join(tree, 'node'), tree);
  for (const name of PROGRAMS) {
    const path = findProgram(name);
    if (path === null) throw new Error(`${name} is not installed`);
    await addProgram(path, join(tree, 'bin', name), tree);
  }
  const image = join(dir, 'disk.img');
  const make = ['-q', '-t', 'ext4', '-O', '^has_journal', '-d', tree, image, DISK_SIZE];
  await runCommand(findProgram('mke2fs') ?? 'mke2fs', make, { timeoutMs: MAKE_TIMEOUT_MS });
  return { qemu: ['-drive', `file=${image},format=raw,if=virtio,readonly=on`], prelude: PRELUDE };
}

/** Where the service's PATH and ours look first: the full programs are in front of busybox's. */
const PRELUDE = `
modprobe -a virtio_blk ext4
for i in $(seq 100); do [ -b /dev/vda ] && break; sleep 0.1; done
mkdir -p /program /local
mount -t ext4 -o ro,noatime /dev/vda /program
ln -s /program/bin /local/sbin
for library in /program/lib/*; do
  for dir in /lib/x86_64-linux-gnu /lib64; do [ -e $dir/\${library##*/} ] && continue 2; done
  cp $library /lib/x86_64-linux-gnu/
done
# A file and no function: in the background a function is a shell of its own, which signals would hit instead.
mkdir /tmp/command
echo '#!/bin/sh
exec /program/node /program/app/dist/main.js "$@"' > /tmp/command/bucketdisk
chmod +x /tmp/command/bucketdisk
export PATH=/tmp/command:/program/bin:/bin NODE_COMPILE_CACHE=/tmp/compiled
`;

/** What is installed for running, and not for working on it. */
async function modules(): Promise<string[]> {
  const lock = JSON.parse(await readFile(join(ROOT, 'package-lock.json'), 'utf8')) as {
    packages: Record<string, { dev?: boolean; optional?: boolean }>;
  };
  return Object.entries(lock.packages)
    .filter(([path, { dev = false, optional = false }]) => path !== '' && !dev && !optional)
    .map(([path]) => path)
    .filter((path) => !path.includes('/node_modules/'));
}

async function addProgram(path: string, to: string, tree: string): Promise<void> {
  await mkdir(dirname(to), { recursive: true });
  await cp(path, to, { dereference: true });
  const { stdout } = await runCommand('ldd', [path]);
  await mkdir(join(tree, 'lib'), { recursive: true });
  for (const [library] of stdout.matchAll(/\/\S+/g)) {
    await cp(library, join(tree, 'lib', library.split('/').at(-1) ?? ''), { dereference: true });
  }
}
