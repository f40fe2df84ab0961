/** Walks the tree of objects in the order of their keys, holding no more than the directories on the way in memory. */
import type { Dirent } from 'node:fs';
import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { compareKeys } from '../keys.ts';
import { errnoOf } from './fs-errors.ts';
import { nameToPiece, splitKey } from './key-path.ts';

export interface FoundObject {
  readonly key: string;
  readonly path: string;
}

interface Entry {
  readonly name: string;
  /** The key of an object; what all keys of a directory begin with. */
  readonly key: string;
  readonly isObject: boolean;
}

interface Level {
  readonly path: string;
  readonly entries: readonly Entry[];
  next: number;
}

/** The objects whose keys begin with `prefix` and sort after `startAfter`. Rejects with the system's errors. */
export async function* walkObjects(
  root: string,
  prefix: string,
  startAfter: string | undefined,
): AsyncGenerator<FoundObject> {
  const { directories, rest } = splitKey(prefix);
  const top = join(root, ...directories.map((piece) => piece.name));
  const base = directories.map((piece) => piece.text).join('');
  const levels = [await readLevel(top, base, base + rest, startAfter)];
  for (let level = levels.at(-1); level !== undefined; level = levels.at(-1)) {
    const entry = level.entries[level.next];
    level.next += 1;
    if (entry === undefined) {
      levels.pop();
    } else if (entry.isObject) {
      yield { key: entry.key, path: join(level.path, entry.name) };
    } else {
      levels.push(await readLevel(join(level.path, entry.name), entry.key, prefix, startAfter));
    }
  }
}

async function readLevel(path: string, base: string, prefix: string, startAfter: string | undefined): Promise<Level> {
  const entries: Entry[] = [];
  for (const dirent of await readDirectory(path)) {
    const isDirectory = await leadsToDirectory(path, dirent);
    const piece = nameToPiece(dirent.name, isDirectory);
    if (piece === undefined) continue;
    const key = base + piece.text;
    if (!key.startsWith(prefix) || isPassed(key, piece.isObject, startAfter)) continue;
    entries.push({ name: dirent.name, key, isObject: piece.isObject });
  }
  entries.sort((a, b) => compareKeys(a.key, b.key));
  return { path, entries, next: 0 };
}

/** Whether everything the entry stands for sorts at or before `startAfter`. */
function isPassed(key: string, isObject: boolean, startAfter: string | undefined): boolean {
  if (startAfter === undefined) return false;
  if (isObject) return compareKeys(key, startAfter) <= 0;
  return compareKeys(key, startAfter) < 0 && !startAfter.startsWith(key);
}

async function readDirectory(path: string): Promise<Dirent[]> {
  try {
    return await readdir(path, { withFileTypes: true });
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return [];
    throw error;
  }
}

/**
 * Symbolic links count as what they lead to, as they do for a get: an object must not be readable yet unlisted. One that
 * leads nowhere is an error: there may be objects where it leads to.
 */
async function leadsToDirectory(path: string, dirent: Dirent): Promise<boolean> {
  if (!dirent.isSymbolicLink()) return dirent.isDirectory();
  const isOurs = nameToPiece(dirent.name, true) !== undefined || nameToPiece(dirent.name, false) !== undefined;
  return isOurs && (await stat(join(path, dirent.name))).isDirectory();
}
