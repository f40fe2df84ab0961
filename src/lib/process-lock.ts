/** A lock between processes that the kernel releases when its holder dies, whichever way it dies. */
import { statSync } from 'node:fs';
import { DatabaseSync } from 'node:sqlite';
import { StorageError } from './errors.ts';

/**
 * How long `runExclusive` blocks this thread for another process before it gives up with UNAVAILABLE: enough for one that
 * is at work, and little where it stands still.
 */
const BUSY_TIMEOUT_MS = 5;
/** A file just made is opened twice, one that was replaced once more. */
const OPENINGS_MAX = 5;

/** SQLite's primary result codes that mean something to the operator (sqlite.org/rescode.html). */
const SQLITE_PERM = 3;
const SQLITE_BUSY = 5;
const SQLITE_READONLY = 8;
const SQLITE_FULL = 13;
const SQLITE_CANTOPEN = 14;
const SQLITE_NOTADB = 26;

/**
 * An exclusive lock on a file, which is created empty and stays empty.
 *
 * Node has no file locks of its own. SQLite does, and its exclusive transaction is a plain POSIX record lock: it holds
 * between processes and between containers that share the directory, needs no clean-up after a SIGKILL and costs some
 * 10 us. Nothing is ever stored, so a journal in memory, which leaves no second file beside the lock, is enough. No other
 * code may open the file: POSIX drops a process's record locks when it closes any descriptor of that file.
 *
 * Where somebody has removed the file, the next to lock makes a new one, and all move to it; only who holds the lock at
 * that moment does not notice.
 *
 * Use one instance either for `runExclusive` or for `tryHold`.
 */
export class ProcessLock {
  readonly path: string;
  #database: DatabaseSync;
  /** Which file of that name is open; null where that is not sure. */
  #fileId: string | null = null;
  #held = false;

  /** @throws StorageError ACCESS_DENIED, NO_SPACE, INVALID or UNAVAILABLE where the file cannot be used */
  constructor(path: string) {
    this.path = path;
    try {
      this.#database = this.#open();
    } catch (cause) {
      throw this.#error('open', cause);
    }
  }

  /**
   * Runs `fn` while no other holder of this lock runs: for work of microseconds, as it blocks the thread.
   * @throws StorageError UNAVAILABLE, with nothing run, where another process keeps the lock for 5 ms
   */
  runExclusive<T>(fn: () => T): T {
    if (!this.#begin(BUSY_TIMEOUT_MS)) {
      throw new StorageError('UNAVAILABLE', `cannot lock the lock file ${this.path}: another process has it`);
    }
    try {
      return fn();
    } finally {
      this.#end();
    }
  }

  /** Takes the lock for the life of the process, or until `close`. False where somebody else has it. */
  tryHold(): boolean {
    return this.#held || this.#begin(0);
  }

  /** Releases whatever is held. The file stays: removing it would let two holders lock two files of one name. */
  close(): void {
    if (this.#held) this.#end();
    if (this.#database.isOpen) this.#database.close();
  }

  /** False where another process has the lock. */
  #begin(busyTimeoutMs: number): boolean {
    if (this.#held) throw new StorageError('INVALID', `the lock ${this.path} is held by this very caller`);
    for (let openings = 0; openings < OPENINGS_MAX; openings++) {
      try {
        if (!this.#database.isOpen) this.#database = this.#open();
        this.#database.exec(`PRAGMA busy_timeout = ${busyTimeoutMs}; PRAGMA journal_mode = MEMORY; BEGIN EXCLUSIVE`);
        this.#held = this.#fileId !== null && this.#fileId === fileId(this.path);
        if (this.#held) return true;
        this.#database.close();
      } catch (cause) {
        if (primaryCode(cause) === SQLITE_BUSY) return false;
        if (this.#database.isOpen) this.#database.close(); // Whatever it has locked is released; the next to lock opens it.
        throw this.#error('lock', cause);
      }
    }
    throw new StorageError('UNAVAILABLE', `cannot lock the file ${this.path}: it is replaced all the time`);
  }

  #open(): DatabaseSync {
    const before = fileId(this.path);
    const database = new DatabaseSync(this.path);
    // What had that name before and after is what was opened.
    this.#fileId = fileId(this.path) === before ? before : null;
    return database;
  }

  #end(): void {
    this.#held = false;
    this.#database.exec('ROLLBACK');
  }

  #error(verb: 'open' | 'lock', cause: unknown): StorageError {
    const what = `cannot ${verb} the lock file ${this.path}`;
    switch (primaryCode(cause)) {
      case SQLITE_PERM:
      case SQLITE_READONLY:
        return new StorageError('ACCESS_DENIED', `${what}: it must be readable and writable for us`, { cause });
      case SQLITE_FULL:
        return new StorageError('NO_SPACE', `${what}: the disk is full`, { cause });
      case SQLITE_CANTOPEN:
        return new StorageError('ACCESS_DENIED', `${what}: its directory must exist and be writable for us`, { cause });
      case SQLITE_NOTADB:
        return new StorageError('INVALID', `${what}: it is not a lock file of ours; remove it if it is not needed`, {
          cause,
        });
      default:
        return new StorageError('UNAVAILABLE', what, { cause });
    }
  }
}

function primaryCode(error: unknown): number | undefined {
  const code = (error as { errcode?: unknown } | null)?.errcode;
  return typeof code === 'number' ? code & 0xff : undefined;
}

/** Null where there is no such file. It is not opened, see above. */
function fileId(path: string): string | null {
  const stats = statSync(path, { bigint: true, throwIfNoEntry: false });
  return stats === undefined ? null : `${stats.dev}-${stats.ino}`;
}
