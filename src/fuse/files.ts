/** The files of the directory: one for each volume, with the number the kernel knows it by. */
import type { BlockDevice } from '../volume/block-device.ts';
import { ROOT_NODE } from './constants.ts';
import { type FileCommandSnapshot, FileStats } from './request-stats.ts';

export interface FuseFile {
  /** Of at most 255 bytes, without a slash. */
  readonly name: string;
  readonly device: BlockDevice;
  /** Why it cannot be opened at the moment, for people; null or left out where it can. */
  readonly closed?: string | null;
}

/** Looked at with every request that names a file, so files may come and go while the directory is mounted. */
export interface FileTable {
  /** In the order they are listed. */
  list(): readonly FuseFile[];
  find(name: string): FuseFile | undefined;
}

/** A file's number: the same for a name as long as the directory is mounted, so that nothing is to be counted or forgotten. */
export class FileNodes {
  readonly #files: FileTable;
  readonly #names: string[] = [];
  readonly #stats: FileStats[] = [];
  readonly #nodes = new Map<string, number>();

  constructor(files: FileTable) {
    this.#files = files;
  }

  list(): readonly FuseFile[] {
    return this.#files.list();
  }

  find(name: string): FuseFile | undefined {
    return this.#files.find(name);
  }

  /** Of a file that is in the table. */
  nodeOf({ name }: FuseFile): number {
    const known = this.#nodes.get(name);
    if (known !== undefined) return known;
    this.#names.push(name);
    this.#stats.push(new FileStats());
    const node = ROOT_NODE + this.#names.length;
    this.#nodes.set(name, node);
    return node;
  }

  /** Undefined where there never was such a file, or where it has gone. */
  fileOf(node: number): FuseFile | undefined {
    const name = this.#names[node - ROOT_NODE - 1];
    return name === undefined ? undefined : this.#files.find(name);
  }

  /** What is counted of a file that `fileOf` has found. */
  statsOf(node: number): FileStats {
    return this.#stats[node - ROOT_NODE - 1] as FileStats;
  }

  snapshot(): { readonly file: string; readonly commands: readonly FileCommandSnapshot[] }[] {
    return this.#names.map((file, index) => ({ file, commands: this.#stats[index]?.snapshot() ?? [] }));
  }
}
