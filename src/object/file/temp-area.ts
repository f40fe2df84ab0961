/** A directory for the files one process is still writing, which the next process clears once that one is dead. */
import { randomBytes } from 'node:crypto';
import { mkdirSync, readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { ProcessLock } from '../../lib/process-lock.ts';

const LOCK_SUFFIX = '.lock';

/**
 * Each process has a directory `<id>` and holds the lock `<id>.lock` for its life, so that what a dead process left is
 * told from what a living one works on without a guess. Opening, clearing and closing happen under the bucket's lock.
 */
export class TempArea {
  readonly #directory: string;
  readonly #lock: ProcessLock;
  #files = 0;

  /** Throws the system's errors, and those of ProcessLock. Call it, as `close`, under the bucket's lock. */
  constructor(parent: string) {
    mkdirSync(parent, { recursive: true });
    clearDead(parent);
    this.#directory = join(parent, randomBytes(8).toString('hex'));
    this.#lock = new ProcessLock(this.#directory + LOCK_SUFFIX);
    if (!this.#lock.tryHold()) throw new Error(`${this.#lock.path} is held, though its name was never used before`);
    mkdirSync(this.#directory);
  }

  newPath(): string {
    this.#files += 1;
    return join(this.#directory, String(this.#files));
  }

  close(): void {
    rmSync(this.#directory, { recursive: true, force: true });
    this.#lock.close();
    rmSync(this.#lock.path, { force: true });
  }
}

function clearDead(parent: string): void {
  for (const name of readdirSync(parent)) {
    if (!name.endsWith(LOCK_SUFFIX)) continue;
    const lock = new ProcessLock(join(parent, name));
    const dead = lock.tryHold();
    if (dead) rmSync(join(parent, name.slice(0, -LOCK_SUFFIX.length)), { recursive: true, force: true });
    lock.close();
    if (dead) rmSync(lock.path, { force: true });
  }
}
