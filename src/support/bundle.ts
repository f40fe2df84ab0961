/** The bundle itself: texts, as files in one compressed archive. */
import { mkdir, mkdtemp, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { create } from 'tar';
import { StorageError } from '../lib/errors.ts';
import { systemReason } from '../lib/system-reason.ts';

export interface BundleFile {
  readonly name: string;
  /** What it is, for the list that goes with it. */
  readonly about: string;
  readonly text: string;
}

export interface WrittenBundle {
  readonly sizeBytes: number;
}

/**
 * Writes `files`, and a list of them, below one directory `name` of the archive at `path`, which must not be there. INVALID where it
 * cannot be written. `scrub` is applied to everything, once more, on its way.
 */
export async function writeBundle(
  path: string,
  name: string,
  files: readonly BundleFile[],
  scrub: (text: string) => string,
): Promise<WrittenBundle> {
  const work = await mkdtemp(join(tmpdir(), 'bucketdisk-support-'));
  try {
    const list = files.map(({ name: file, about }) => `${file.padEnd(24)} ${about}\n`).join('');
    const all = [
      ...files,
      { name: 'CONTENTS.txt', about: 'this list', text: `What is in here. Secrets are masked as ***.\n\n${list}` },
    ];
    for (const file of all) {
      const target = join(work, name, file.name);
      await mkdir(dirname(target), { recursive: true });
      await writeFile(target, scrub(file.text), { mode: 0o600 });
    }
    // Made here and not by the archiver, so that nothing is replaced, and nobody else can read it.
    await writeFile(path, '', { flag: 'wx', mode: 0o600 });
    await create({ gzip: true, portable: true, file: path, cwd: work }, [name]);
    return { sizeBytes: (await stat(path)).size };
  } catch (cause) {
    throw new StorageError('INVALID', `cannot write ${path}: ${systemReason(cause)}`, { cause });
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}
