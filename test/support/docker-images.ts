/** Stand-ins for the public images that ours are built on, where those cannot be pulled: made of Debian's packages. */
import { copyFile, cp, mkdir, mkdtemp, realpath, rm, symlink, writeFile } from 'node:fs/promises';
import { homedir, tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { debianMirror } from './newer-debian.ts';
import { runCommand } from './run-command.ts';
import { findProgram } from './tools.ts';

const DEBIAN_IMAGE = 'debian:bookworm-slim';
const NODE_IMAGE = 'node:24-bookworm-slim';
export const BASE_IMAGES = [DEBIAN_IMAGE, NODE_IMAGE] as const;

const MAKE_TIMEOUT_MS = 10 * 60_000;
const PULL_TIMEOUT_MS = 4 * 60_000;
const CERTIFICATES = 'etc/ssl/certs/ca-certificates.crt';
/** $1: a directory to work in, $2: a mirror of Debian. Leaves out what the public image leaves out, and sets what it sets. */
const MAKE_DEBIAN = `set -e
mkdir "$1/root" && mount -t tmpfs tmpfs "$1/root"
debootstrap --variant=minbase --include=ca-certificates bookworm "$1/root" "$2"
cd "$1/root"
cp /${CERTIFICATES} ${CERTIFICATES}
echo force-unsafe-io > etc/dpkg/dpkg.cfg.d/docker-apt-speedup
rm -rf usr/share/doc usr/share/man usr/share/locale usr/share/info var/cache/apt var/lib/apt/lists
tar -cf "$1/root.tar" --exclude=./proc/* --exclude=./sys/* .`;

// With the machine's own certificates, for a registry that stands behind a proxy.
const NODE_DOCKERFILE = `FROM ${DEBIAN_IMAGE}
RUN apt-get update && apt-get install -y --no-install-recommends libstdc++6 libatomic1 && rm -rf /var/lib/apt/lists/*
COPY root /
ENV NODE_EXTRA_CA_CERTS=/${CERTIFICATES} SSL_CERT_FILE=/${CERTIFICATES}
CMD ["node"]
`;

/** Makes those of the images that are neither there nor to be pulled. Needs root, and the daemon that docker knows. */
export async function makeBaseImages(images: readonly string[], say: (line: string) => void): Promise<void> {
  for (const image of images) {
    if (await isThere(image)) continue;
    if ((await runCommand('docker', ['pull', image], { okCodes: null, timeoutMs: PULL_TIMEOUT_MS })).code === 0)
      continue;
    say(`making a stand-in for ${image}`);
    if (image === NODE_IMAGE) await makeNodeImage();
    else await makeDebianImage();
  }
}

async function isThere(image: string): Promise<boolean> {
  return (await runCommand('docker', ['image', 'inspect', image], { okCodes: null })).code === 0;
}

async function makeDebianImage(): Promise<void> {
  const cache = join(process.env.XDG_CACHE_HOME ?? join(homedir(), '.cache'), 'bucketdisk-test');
  await mkdir(cache, { recursive: true });
  const work = await mkdtemp(join(cache, 'making-'));
  try {
    // In memory, where syncing costs nothing, and in a mount namespace of its own: what debootstrap mounts ends with it.
    const make = ['--mount', '--propagation', 'private', 'sh', '-c', MAKE_DEBIAN, 'sh', work, await debianMirror()];
    await runCommand('unshare', make, { timeoutMs: MAKE_TIMEOUT_MS });
    const archive = join(work, 'root.tar');
    await runCommand('docker', ['import', '-c', 'CMD ["bash"]', archive, DEBIAN_IMAGE], { timeoutMs: MAKE_TIMEOUT_MS });
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}

/** This process's Node, with the machine's npm. */
async function makeNodeImage(): Promise<void> {
  const npm = findProgram('npm');
  if (npm === null) throw new Error(`${NODE_IMAGE} needs npm`);
  const context = await mkdtemp(join(tmpdir(), 'bucketdisk-node-image-'));
  try {
    const local = join(context, 'root', 'usr', 'local');
    await mkdir(join(local, 'bin'), { recursive: true });
    await copyFile(process.execPath, join(local, 'bin', 'node'));
    const modules = join(local, 'lib', 'node_modules');
    await mkdir(modules, { recursive: true });
    await cp(dirname(dirname(await realpath(npm))), join(modules, 'npm'), { recursive: true });
    for (const name of ['npm', 'npx']) {
      await symlink(`../lib/node_modules/npm/bin/${name}-cli.js`, join(local, 'bin', name));
    }
    await writeFile(join(context, 'Dockerfile'), NODE_DOCKERFILE);
    await runCommand('docker', ['build', '--network=host', '-t', NODE_IMAGE, context], {
      env: { DOCKER_BUILDKIT: '0' },
      timeoutMs: MAKE_TIMEOUT_MS,
    });
  } finally {
    await rm(context, { recursive: true, force: true });
  }
}
