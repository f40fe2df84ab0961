/** The directory that is the bucket: made and marked once, and recognised afterwards. */
import type { Stats } from 'node:fs';
import { lstat, mkdir, open, stat } from 'node:fs/promises';
import { basename, dirname, join, relative, resolve, sep } from 'node:path';
import { pathToFileURL } from 'node:url';
import { StorageError } from '../../lib/errors.ts';
import { errnoOf, fromFsError } from './fs-errors.ts';

const MARK = 'A bucket of bucketdisk: every file below this directory is an object. Do not remove this file.\n';

/**
 * A mark inside the directory tells "this key does not exist" from "the bucket is not here": an unmounted file system
 * leaves an empty directory behind, and its absent keys must not be taken for zeros.
 */
export class BucketDirectory {
  readonly root: string;
  /** The store's own files; no key is ever mapped to a name that begins with a dot. */
  readonly privateDirectory: string;
  readonly #mark: string;

  constructor(directory: string) {
    this.root = resolve(directory);
    this.privateDirectory = join(this.root, '.bucketdisk');
    this.#mark = join(this.privateDirectory, 'bucket');
  }

  get url(): string {
    return pathToFileURL(this.root).href;
  }

  get name(): string {
    return basename(this.root);
  }

  /** Makes the directory and its parents where they are missing, durably. Changes nothing where the mark is there. */
  async prepare(): Promise<void> {
    try {
      if (await this.#isMarked()) return;
      const first = await mkdir(this.privateDirectory, { recursive: true });
      await writeMark(this.#mark);
      await syncUpwards(this.privateDirectory, first === undefined ? this.root : dirname(first));
    } catch (cause) {
      throw fromFsError(`making ${this.root} a bucket`, cause);
    }
  }

  /** @throws StorageError NOT_FOUND where the bucket is not there (any more) */
  async check(): Promise<void> {
    let marked: boolean;
    try {
      marked = await this.#isMarked();
    } catch (cause) {
      throw fromFsError(`looking for the bucket ${this.root}`, cause);
    }
    if (!marked) {
      throw new StorageError(
        'NOT_FOUND',
        `the bucket ${this.root} is gone: its mark ${this.#mark} is missing; check that its file system is mounted`,
      );
    }
  }

  /**
   * Whether it can be believed that nothing is at `path`: symbolic links are followed, and one whose file system is not
   * mounted leads nowhere.
   * @throws StorageError NOT_FOUND where it cannot
   */
  async checkAbsence(path: string): Promise<void> {
    await this.check();
    let part = this.root;
    try {
      for (const name of relative(this.root, path).split(sep)) {
        part = join(part, name);
        const entry = await unlessMissing(lstat(part));
        if (entry === null) return;
        if (entry.isSymbolicLink() && (await unlessMissing(stat(part))) === null) {
          const advice = `the symbolic link ${part} leads nowhere: check that its file system is mounted`;
          throw new StorageError('NOT_FOUND', `a part of the bucket ${this.root} is gone: ${advice}`);
        }
      }
    } catch (cause) {
      throw fromFsError(`looking for ${path}`, cause);
    }
  }

  async #isMarked(): Promise<boolean> {
    return (await unlessMissing(stat(this.#mark)))?.isFile() ?? false;
  }
}

async function unlessMissing(looking: Promise<Stats>): Promise<Stats | null> {
  try {
    return await looking;
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return null;
    throw error;
  }
}

async function writeMark(path: string): Promise<void> {
  const handle = await open(path, 'w');
  try {
    await handle.writeFile(MARK);
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/** Syncs `directory` and each above it up to and including `last`. */
async function syncUpwards(directory: string, last: string): Promise<void> {
  for (let path = directory; ; path = dirname(path)) {
    const handle = await open(path, 'r');
    try {
      await handle.sync();
    } finally {
      await handle.close();
    }
    if (path === last || path === dirname(path)) return;
  }
}
