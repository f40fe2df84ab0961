/** Makes renames and unlinks durable: one fsync of a directory serves everybody who waits for it. */
import { open } from 'node:fs/promises';

interface Sync {
  readonly current: Promise<void>;
  /** Begins when the current one has ended; those who come meanwhile share it. */
  next: Promise<void> | undefined;
}

export class DirectorySync {
  readonly #syncs = new Map<string, Sync>();

  /** Resolves when an fsync of the directory that began after this call has ended. Rejects with the system's error. */
  sync(directory: string): Promise<void> {
    const running = this.#syncs.get(directory);
    if (running === undefined) return this.#start(directory);
    // The one under way may have begun before the caller's change.
    running.next ??= running.current.then(
      () => this.#start(directory),
      () => this.#start(directory),
    );
    return running.next;
  }

  #start(directory: string): Promise<void> {
    const current = fsyncDirectory(directory);
    const sync: Sync = { current, next: undefined };
    this.#syncs.set(directory, sync);
    const settled = (): void => {
      if (sync.next === undefined) this.#syncs.delete(directory);
    };
    current.then(settled, settled);
    return current;
  }
}

async function fsyncDirectory(directory: string): Promise<void> {
  const handle = await open(directory, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}
