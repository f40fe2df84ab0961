/** The directory an appliance keeps its own state in: who it is, and that it runs only once. */
import { randomUUID } from 'node:crypto';
import { readFileSync, renameSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { makeDirectory } from './disk/make-directory.ts';
import { StorageError } from './errors.ts';
import { ProcessLock } from './process-lock.ts';
import { systemReason } from './system-reason.ts';

const INSTANCE = /^[0-9a-f-]{36}$/;

export class StateDir {
  readonly path: string;
  readonly #lock: ProcessLock;

  /** Creates the directory where it is missing. INVALID or NO_SPACE where it cannot be used. */
  constructor(path: string) {
    this.path = path;
    try {
      makeDirectory(path);
    } catch (cause) {
      throw unusable(path, cause);
    }
    this.#lock = new ProcessLock(join(path, 'lock'));
  }

  /** Where the appliance that uses the directory `path` listens for commands. */
  static controlSocketPath(path: string): string {
    return join(path, 'control.sock');
  }

  /** The identity of the appliance that has used the directory `path` on this boot; null where none has. Changes nothing there. */
  static instanceAt(path: string): string | null {
    try {
      const id = readFileSync(join(path, 'instance'), 'utf8').trim();
      return INSTANCE.test(id) ? identity(id, join(path, 'lock')) : null;
    } catch {
      return null;
    }
  }

  /** Takes the directory for this process, until `close`. False where another process has it. */
  tryHold(): boolean {
    return this.#lock.tryHold();
  }

  /**
   * The identity of the appliance whose directory this is, on this boot of this kernel. To be called by the process that
   * holds the directory: of two processes with one identity one is then surely dead. The boot is part of it because a
   * directory may be copied with its machine, and the lock's file because it may be copied by itself, or the lock removed
   * under a process that holds it; and both run.
   */
  instance(): string {
    const id = this.#directoryId();
    try {
      return identity(id, this.#lock.path);
    } catch (cause) {
      throw unusable(this.path, cause);
    }
  }

  close(): void {
    this.#lock.close();
  }

  #directoryId(): string {
    const file = join(this.path, 'instance');
    try {
      const text = readFileSync(file, 'utf8').trim();
      if (INSTANCE.test(text)) return text;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw unusable(this.path, error);
    }
    const made = randomUUID();
    try {
      writeFileSync(`${file}.new`, `${made}\n`, { flush: true });
      renameSync(`${file}.new`, file);
    } catch (cause) {
      throw unusable(this.path, cause);
    }
    return made;
  }
}

function identity(directoryId: string, lockPath: string): string {
  const { dev, ino } = statSync(lockPath, { bigint: true });
  return `${directoryId}/${bootId()}/${dev}-${ino}`;
}

/** Linux's own; elsewhere every process is on a boot of its own, and waits for leases to lapse. */
export function bootId(): string {
  try {
    return readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
  } catch {
    return randomUUID();
  }
}

/** Not ACCESS_DENIED, whatever the system says: that one is about credentials and passwords. */
function unusable(path: string, cause: unknown): StorageError {
  const errno = (cause as NodeJS.ErrnoException).code;
  const code = errno === 'ENOSPC' ? 'NO_SPACE' : 'INVALID';
  const reason = errno === 'EEXIST' ? 'it is no directory' : systemReason(cause);
  return new StorageError(code, `cannot use the directory ${path} (cache.dir): ${reason}`, { cause });
}
