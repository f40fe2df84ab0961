/** The names on a simulated disk: which files and directories there are, now and after a power cut. */
import { dirname, join } from 'node:path/posix';
import type { Random } from '../random.ts';
import type { SimInode } from './sim-inode.ts';

export type Entry = SimInode | 'directory';

/** A change of names that happens at once or not at all, and that a power cut may undo. */
interface NameChange {
  readonly removed: readonly string[];
  readonly added: readonly (readonly [path: string, entry: Entry])[];
}

export class Namespace {
  readonly #visible = new Map<string, Entry>([['/', 'directory']]);
  readonly #durable = new Map<string, Entry>([['/', 'directory']]);
  #pending: NameChange[] = [];

  get(path: string): Entry | undefined {
    return this.#visible.get(normal(path));
  }

  /** All files there are, each once. */
  *files(): Generator<readonly [path: string, inode: SimInode]> {
    for (const [path, entry] of this.#visible) if (entry !== 'directory') yield [path, entry];
  }

  list(directory: string): string[] {
    const parent = normal(directory);
    const paths = [...this.#visible.keys()].filter((path) => path !== '/' && dirname(path) === parent);
    return paths.map((path) => path.slice(parent === '/' ? 1 : parent.length + 1));
  }

  add(path: string, entry: Entry): void {
    this.#change({ removed: [], added: [[normal(path), entry]] });
  }

  remove(path: string): void {
    this.#change({ removed: [normal(path)], added: [] });
  }

  rename(from: string, to: string, entry: Entry): void {
    if (normal(from) !== normal(to)) this.#change({ removed: [normal(from)], added: [[normal(to), entry]] });
  }

  /** What a sync of the directory that begins now makes durable. */
  syncable(directory: string): readonly NameChange[] {
    const parent = normal(directory);
    return this.#pending.filter(({ removed, added }) =>
      [...removed, ...added.map(([path]) => path)].some((path) => dirname(path) === parent),
    );
  }

  synced(changes: readonly NameChange[]): void {
    const now = new Set(changes);
    for (const change of this.#pending) if (now.has(change)) applyTo(this.#durable, change);
    this.#pending = this.#pending.filter((change) => !now.has(change));
  }

  /** The machine has lost its power. Most filesystems keep changes of names in order, and none promises it. */
  crash(random: Random): void {
    const style = random.pick(['none', 'all', 'prefix', 'prefix', 'each']);
    const prefix = random.below(this.#pending.length + 1);
    for (const [index, change] of this.#pending.entries()) {
      const kept =
        style === 'all' || (style === 'prefix' && index < prefix) || (style === 'each' && random.chance(0.5));
      if (kept) applyTo(this.#durable, change);
    }
    this.#pending = [];
    this.#dropStranded();
    this.#visible.clear();
    for (const [path, entry] of this.#durable) this.#visible.set(path, entry);
  }

  /** What lay in a directory that is no more. */
  #dropStranded(): void {
    for (const path of [...this.#durable.keys()].sort()) {
      if (path !== '/' && this.#durable.get(dirname(path)) !== 'directory') this.#durable.delete(path);
    }
  }

  #change(change: NameChange): void {
    this.#pending.push(change);
    applyTo(this.#visible, change);
  }
}

function applyTo(names: Map<string, Entry>, { removed, added }: NameChange): void {
  for (const path of removed) names.delete(path);
  for (const [path, entry] of added) names.set(path, entry);
}

function normal(path: string): string {
  const joined = join('/', path);
  return joined.length > 1 && joined.endsWith('/') ? joined.slice(0, -1) : joined;
}
