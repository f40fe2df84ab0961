/** The machine this process runs on. */
import { randomBytes } from 'node:crypto';
import { accessSync, closeSync, constants, openSync, readdirSync, readFileSync, statfsSync, statSync } from 'node:fs';
import { open, rm } from 'node:fs/promises';
import { connect, createServer } from 'node:net';
import { join } from 'node:path';
import { tellsDeath } from '../lib/dead-mount.ts';
import { findProgram, runProgram } from '../lib/run-program.ts';
import type { FileFacts, Machine, SpaceFacts } from './machine.ts';

const BLOCK_BYTES = 4096;
/** stat(2) counts what a file takes in these. */
const STAT_BLOCK_BYTES = 512;
/** A filesystem that answers at all answers soon. */
const ANSWER_TIMEOUT_MS = 5_000;

export class SystemMachine implements Machine {
  readonly nodeVersion = process.versions.node;
  readonly uid = process.getuid?.() ?? -1;
  readonly env: Machine['env'];

  constructor(env: Machine['env']) {
    this.env = env;
  }

  readText(path: string): string | null {
    return orNull(() => readFileSync(path, 'utf8'));
  }

  list(directory: string): readonly string[] {
    return orNull(() => readdirSync(directory)) ?? [];
  }

  stat(path: string): FileFacts | null {
    const stats = orNull(() => statSync(path));
    if (stats === null) return null;
    const kind = stats.isFile() ? 'file' : stats.isDirectory() ? 'directory' : stats.isSocket() ? 'socket' : 'other';
    return { kind, usedBytes: stats.blocks * STAT_BLOCK_BYTES };
  }

  space(path: string): SpaceFacts | null {
    const stats = orNull(() => statfsSync(path));
    if (stats === null) return null;
    return { totalBytes: stats.blocks * stats.bsize, freeBytes: stats.bavail * stats.bsize };
  }

  openError(path: string): string | null {
    try {
      // A device says only when it is opened whether its driver is there; a directory cannot be opened for writing.
      if (statSync(path).isDirectory()) accessSync(path, constants.R_OK | constants.W_OK | constants.X_OK);
      else closeSync(openSync(path, constants.O_RDWR | constants.O_NONBLOCK));
      return null;
    } catch (error) {
      return codeOf(error);
    }
  }

  program(name: string): string | null {
    return findProgram(name);
  }

  async answers(path: string): Promise<'yes' | 'dead' | 'no'> {
    // By a program: one that waits for a filesystem which does not answer can be killed, a thread of ours could not.
    const result = await runProgram('stat', ['-f', '--', path], { timeoutMs: ANSWER_TIMEOUT_MS }).catch(() => null);
    if (result === null) return 'no';
    if (result.code === 0) return 'yes';
    return tellsDeath(result.stderr) ? 'dead' : 'no';
  }

  listenError(host: string, port: number): Promise<string | null> {
    const server = createServer();
    return new Promise((resolve) => {
      server.once('error', (error) => resolve(codeOf(error)));
      server.listen({ host, port, exclusive: true }, () => server.close(() => resolve(null)));
    });
  }

  connects(socketPath: string): Promise<boolean> {
    return new Promise((resolve) => {
      const socket = connect(socketPath);
      const settle = (connected: boolean): void => {
        socket.destroy();
        resolve(connected);
      };
      socket.once('connect', () => settle(true));
      socket.once('error', () => settle(false));
      socket.setTimeout(ANSWER_TIMEOUT_MS, () => settle(true));
    });
  }

  async syncTimes(directory: string, count: number): Promise<readonly number[]> {
    const path = join(directory, `doctor-${randomBytes(8).toString('hex')}.tmp`);
    const file = await open(path, 'wx', 0o600);
    try {
      const block = randomBytes(BLOCK_BYTES);
      const times: number[] = [];
      for (let index = 0; index < count; index++) {
        const startedAt = performance.now();
        await file.write(block, 0, BLOCK_BYTES, index * BLOCK_BYTES);
        await file.datasync();
        times.push(performance.now() - startedAt);
      }
      return times;
    } finally {
      await file.close().catch(() => {});
      await rm(path, { force: true });
    }
  }
}

function orNull<T>(look: () => T): T | null {
  try {
    return look();
  } catch {
    return null;
  }
}

function codeOf(error: unknown): string {
  return (error as NodeJS.ErrnoException).code ?? String(error);
}
