/** A tree of files as people have them: many small ones, a few large ones, links; the same in every run. */
import { lstat, mkdir, readdir, readlink, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { hashFile, randomBytes, writeRandomFile } from './random-data.ts';

export interface TreeOptions {
  readonly seed: string;
  /** Besides the large ones. */
  readonly files: number;
  readonly largeFiles: number;
  readonly largeBytes: number;
}

const FILES_PER_DIRECTORY = 40;

/**
 * `small/DD/EE/fNNNNN` and `large/fN`. One file of eight is empty or tiny, most are up to 4 KiB, some up to 64 KiB; one of a
 * hundred has a link beside it.
 */
export async function makeTree(dir: string, { seed, files, largeFiles, largeBytes }: TreeOptions): Promise<void> {
  const choices = randomBytes(seed, files * 4);
  for (let index = 0; index < files; index++) {
    const directory = Math.floor(index / FILES_PER_DIRECTORY);
    const parent = join(dir, 'small', `${Math.floor(directory / 16)}`, `${directory % 16}`);
    if (index % FILES_PER_DIRECTORY === 0) await mkdir(parent, { recursive: true });
    const name = `f${index.toString().padStart(5, '0')}`;
    const choice = choices.readUInt32LE(index * 4);
    await writeFile(join(parent, name), randomBytes(`${seed} ${index}`, smallSize(choice)), {
      mode: choice % 3 === 0 ? 0o755 : 0o640,
    });
    if (index % 100 === 99) await symlink(name, join(parent, `${name}.link`));
  }
  await mkdir(join(dir, 'large'));
  for (let index = 0; index < largeFiles; index++) {
    await writeRandomFile(join(dir, 'large', `f${index}`), `${seed} large ${index}`, largeBytes);
  }
}

function smallSize(choice: number): number {
  const kind = choice % 32;
  const size = choice >>> 5;
  if (kind < 4) return size % 64;
  return kind === 31 ? size % (64 * 1024) : size % (4 * 1024);
}

/** A line for each entry below `dir`, in order: its path, mode, and what it holds. */
export async function describeTree(dir: string): Promise<string[]> {
  const lines: string[] = [];
  for (const entry of (await readdir(dir, { recursive: true })).sort()) {
    const path = join(dir, entry);
    const found = await lstat(path);
    const mode = (found.mode & 0o7777).toString(8);
    if (found.isFile()) lines.push(`${entry} ${mode} ${found.size} ${await hashFile(path)}`);
    else if (found.isSymbolicLink()) lines.push(`${entry} -> ${await readlink(path)}`);
    else lines.push(`${entry}/ ${mode}`);
  }
  return lines;
}
