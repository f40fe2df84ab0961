/** A tree of files as people have them: many small ones, a few large ones, links; the same in every run. */
import { mkdir, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { runCommand } from '../../support/run-command.ts';
import { randomBytes, writeRandomFile } from './random-data.ts';

export interface TreeOptions {
  readonly seed: string;
  /** Besides the large ones. */
  readonly files: number;
  readonly largeFiles: number;
  readonly largeBytes: number;
}

const FILES_PER_DIRECTORY = 40;
const DESCRIBE_TIMEOUT_MS = 180_000;

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

/** Each miss of a read waits for the bucket: many files at once. Their lines must fit the buffer of a pipe to stay whole. */
const HASH_ALL = 'find . -type f -print0 | xargs -0 -r -n 30 -P 16 sha256sum';

/** A line for each entry below `dir`, in order: its path, mode and size, and for files what they hold, by its SHA-256. */
export async function describeTree(dir: string): Promise<string[]> {
  const options = { cwd: dir, timeoutMs: DESCRIBE_TIMEOUT_MS };
  const format = [
    '-type',
    'f',
    '-printf',
    '%P %m %s\\n',
    '-o',
    '-type',
    'd',
    '-printf',
    '%P/ %m\\n',
    '-o',
    '-printf',
    '%P -> %l\\n',
  ];
  const entries = await runCommand('find', ['.', '-mindepth', '1', '(', ...format, ')'], options);
  const hashes = await runCommand('sh', ['-c', HASH_ALL], options);
  return [
    ...linesOf(entries.stdout),
    ...linesOf(hashes.stdout).map((line) => line.replace(/^(\w+) {2}\.\/(.*)$/, '$2 $1')),
  ].sort();
}

function linesOf(text: string): string[] {
  return text.split('\n').slice(0, -1);
}
