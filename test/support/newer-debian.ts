/**
 * Programs of a newer Debian than the machine's, in a root of their own: there are NBD clients that this one does not have
 * yet. Made once of its packages, of which nothing is installed, and kept in the user's cache.
 */
import { createHash } from 'node:crypto';
import { mkdir, mkdtemp, readdir, readFile, rename, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { homedir } from 'node:os';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { fileURLToPath } from 'node:url';
import { type Lifetime, onEnd } from './cleanup.ts';
import { type CommandOptions, type CommandResult, runCommand } from './run-command.ts';
import { requireFacilities } from './tools.ts';

const RELEASE = 'trixie';
/** Essential packages are there on every Debian, and so nobody depends on them. */
const PACKAGES = ['coreutils', 'dash', 'libnbd-bin', 'python3-libnbd', 'qemu-utils', 'nbdkit', 'fio'];
const KEYRING = '/usr/share/keyrings/debian-archive-keyring.gpg';
const APT_TIMEOUT_MS = 300_000;

export interface NewerDebian {
  /** A directory of its own for as long as the test takes: where this machine finds it, and where its programs do. */
  tempDir(lifetime: Lifetime): Promise<{ readonly dir: string; readonly seenAs: string }>;
  /** Runs one of its programs, with its files and this machine's network; like `runCommand` otherwise. */
  run(program: string, args: readonly string[], options?: CommandOptions): Promise<CommandResult>;
}

/** Null where there cannot be one and the test has been skipped with the reason. */
export async function requireNewerDebian(t: TestContext): Promise<NewerDebian | null> {
  if (!requireFacilities(t, ['root'])) return null;
  try {
    return await newerDebian();
  } catch (error) {
    const reason = error instanceof Error ? error.message.split('\n')[0] : String(error);
    t.skip(`needs packages of Debian's ${RELEASE}: ${reason}`);
    return null;
  }
}

/** Makes its root where it is not there yet. Rejects where its packages cannot be had. Needs root. */
export async function newerDebian(): Promise<NewerDebian> {
  const root = await newerRoot();
  return {
    tempDir: async (lifetime) => {
      const dir = await mkdtemp(join(root, 'tmp', 'test-'));
      onEnd(lifetime, () => rm(dir, { recursive: true, force: true, maxRetries: 3 }));
      return { dir, seenAs: dir.slice(root.length) };
    },
    run: (program, args, options) => runCommand('chroot', [root, program, ...args], options),
  };
}

async function newerRoot(): Promise<string> {
  const recipe = createHash('sha256').update(await readFile(fileURLToPath(import.meta.url)));
  const cache = join(process.env.XDG_CACHE_HOME ?? join(homedir(), '.cache'), 'bucketdisk-test');
  const root = join(cache, `${RELEASE}-${recipe.digest('hex').slice(0, 16)}`);
  if (await exists(root)) return root;
  await mkdir(cache, { recursive: true });
  const work = await mkdtemp(join(cache, 'making-'));
  try {
    const archives = await download(join(work, 'apt'));
    const made = join(work, 'root');
    await mkdir(join(made, 'tmp'), { recursive: true });
    // As on every Debian of today, all of it is below usr; packages unpack through these.
    for (const name of ['bin', 'sbin', 'lib', 'lib64']) await symlink(`usr/${name}`, join(made, name));
    // All that our programs want of a /dev.
    await mkdir(join(made, 'dev'));
    await runCommand('mknod', ['-m', '666', join(made, 'dev/null'), 'c', '1', '3']);
    for (const archive of archives) await runCommand('dpkg-deb', ['-x', archive, made]);
    // Another run may have been quicker; one is as good as the other.
    await rename(made, root).catch(async (error: unknown) => {
      if (!(await exists(root))) throw error;
    });
  } finally {
    await rm(work, { recursive: true, force: true });
  }
  return root;
}

/** Has apt fetch the packages with all they need, as if nothing were installed; resolves with their paths. */
async function download(dir: string): Promise<string[]> {
  const sources = join(dir, 'sources.list');
  for (const name of ['lists/partial', 'cache/archives/partial']) await mkdir(join(dir, name), { recursive: true });
  await writeFile(join(dir, 'status'), '');
  await writeFile(sources, `deb [signed-by=${KEYRING}] ${await debianMirror()} ${RELEASE} main\n`);
  const settings = {
    'Dir::State': dir,
    'Dir::State::lists': join(dir, 'lists'),
    'Dir::State::status': join(dir, 'status'),
    'Dir::Cache': join(dir, 'cache'),
    'Dir::Etc::sourcelist': sources,
    'Dir::Etc::sourceparts': '/dev/null',
    'Dir::Etc::preferencesparts': '/dev/null',
    // A user of apt's own could not write into a private directory.
    'APT::Sandbox::User': 'root',
  };
  const options = Object.entries(settings).flatMap(([name, value]) => ['-o', `${name}=${value}`]);
  const apt = (args: readonly string[]): Promise<CommandResult> =>
    runCommand('apt-get', [...options, '-q', ...args], { timeoutMs: APT_TIMEOUT_MS });
  await apt(['update']);
  await apt(['install', '-y', '--no-install-recommends', '--download-only', ...PACKAGES]);
  const archives = join(dir, 'cache/archives');
  return (await readdir(archives)).filter((name) => name.endsWith('.deb')).map((name) => join(archives, name));
}

/** Where this machine gets its own Debian from. */
export async function debianMirror(): Promise<string> {
  const format = '$(ORIGIN) $(CODENAME) $(REPO_URI)';
  const { stdout } = await runCommand('apt-get', ['indextargets', '--format', format, 'Created-By: Packages']);
  const uri = /^Debian [a-z]+ (\S+)$/m.exec(stdout)?.[1];
  if (uri === undefined) throw new Error('this machine gets no packages of Debian');
  return uri;
}

async function exists(path: string): Promise<boolean> {
  return await stat(path).then(
    () => true,
    () => false,
  );
}
