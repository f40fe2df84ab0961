/** Runs one of the system's programs to its end, and never waits longer than it was told to. */
import { spawn } from 'node:child_process';
import { accessSync, constants } from 'node:fs';
import { join } from 'node:path';
import { StorageError } from './errors.ts';
import { systemReason } from './system-reason.ts';

export interface ProgramOptions {
  readonly timeoutMs: number;
  /** Ends the waiting, and the program, as the time does. */
  readonly signal?: AbortSignal;
  /** Becomes the program's descriptor 3. */
  readonly fd?: number;
}

export interface ProgramResult {
  /** Null where a signal ended it. */
  readonly code: number | null;
  readonly stdout: string;
  /** In English, for a message: its lines made one. */
  readonly stderr: string;
}

/** Where distributions keep them; a service's PATH often lacks the sbin directories. */
const SYSTEM_DIRS = ['/usr/local/sbin', '/usr/local/bin', '/usr/sbin', '/usr/bin', '/sbin', '/bin'];
/** Of each output. What these programs say is short; a long one is no reason to run out of memory. */
const OUTPUT_BYTES_MAX = 1024 * 1024;

/**
 * Resolves with what the program said, whatever its exit code. Rejects with UNSUPPORTED where it is not installed, TIMEOUT
 * where it has not ended in time, CANCELLED where `signal` aborts. It is killed then, but not waited for: a program that
 * the kernel holds on to cannot hold us too.
 */
export function runProgram(name: string, args: readonly string[], options: ProgramOptions): Promise<ProgramResult> {
  const { timeoutMs, signal, fd } = options;
  const file = findProgram(name);
  if (file === null) return Promise.reject(new StorageError('UNSUPPORTED', `the program ${name} is not installed`));
  if (signal?.aborted) return Promise.reject(new StorageError('CANCELLED', `${name} was not run`));
  return new Promise((resolve, reject) => {
    const child = spawn(file, args, {
      cwd: '/',
      env: { PATH: SYSTEM_DIRS.join(':'), LC_ALL: 'C' },
      stdio: ['ignore', 'pipe', 'pipe', ...(fd === undefined ? [] : [fd])],
    });
    const stdout = capture(child.stdout);
    const stderr = capture(child.stderr);
    const giveUp = (error: StorageError): void => {
      child.kill('SIGKILL');
      child.unref();
      child.stdout?.destroy();
      child.stderr?.destroy();
      finish(() => reject(error));
    };
    const onAbort = (): void => giveUp(new StorageError('CANCELLED', `${name} was given up`));
    const timer = setTimeout(
      () => giveUp(new StorageError('TIMEOUT', `${[name, ...args].join(' ')} did not end within ${timeoutMs} ms`)),
      timeoutMs,
    );
    signal?.addEventListener('abort', onAbort, { once: true });
    const finish = (settle: () => void): void => {
      clearTimeout(timer);
      signal?.removeEventListener('abort', onAbort);
      settle();
    };
    child.once('error', (cause) => {
      const message = `the program ${file} could not be run: ${systemReason(cause)}`;
      finish(() => reject(new StorageError('UNSUPPORTED', message, { cause })));
    });
    child.once('close', (code) =>
      finish(() =>
        resolve({
          code,
          stdout: stdout(),
          stderr: stderr()
            .trim()
            .replace(/\s*\n\s*/g, ' '),
        }),
      ),
    );
  });
}

/** The path of one of the system's programs, or null. */
export function findProgram(name: string): string | null {
  for (const dir of SYSTEM_DIRS) {
    const path = join(dir, name);
    try {
      accessSync(path, constants.X_OK);
      return path;
    } catch {
      // Not in this one.
    }
  }
  return null;
}

function capture(stream: NodeJS.ReadableStream | null): () => string {
  const chunks: Buffer[] = [];
  let bytes = 0;
  stream?.on('data', (chunk: Buffer) => {
    if (bytes >= OUTPUT_BYTES_MAX) return;
    chunks.push(chunk);
    bytes += chunk.length;
  });
  return () => Buffer.concat(chunks).toString();
}
