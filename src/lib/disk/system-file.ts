/** An open file of the operating system. */
import { closeSync, fdatasync, fstatSync, ftruncateSync, read, readSync, write, writeSync } from 'node:fs';
import type { DiskFile } from '../disk.ts';
import { StorageError } from '../errors.ts';
import { diskError, errnoOf } from './disk-errors.ts';
import { reserveSpace } from './reserve-space.ts';

/** Node takes lengths of 31 bits, and Linux moves no more than 2 GiB in one call. */
const CALL_BYTES_MAX = 1 << 30;

export class SystemFile implements DiskFile {
  readonly path: string;
  readonly #descriptor: number;
  /** Calls that use the descriptor on other threads: while there are any, its number must not become another file's. */
  #underWay = 0;
  #closed = false;

  /** Takes the descriptor over. */
  constructor(path: string, fd: number) {
    this.path = path;
    this.#descriptor = fd;
  }

  sizeBytes(): number {
    return this.#try('look at', () => fstatSync(this.#fd).size);
  }

  readSync(target: Buffer, position: number): number {
    let done = 0;
    while (done < target.length) {
      const length = Math.min(target.length - done, CALL_BYTES_MAX);
      const count = this.#tryInterrupted('read', () => readSync(this.#fd, target, done, length, position + done));
      if (count === 0) break;
      done += count ?? 0;
    }
    return done;
  }

  read(target: Buffer, position: number): Promise<number> {
    return this.#during(async (fd) => {
      let done = 0;
      while (done < target.length) {
        const count = await this.#readPart(fd, target, done, position + done);
        if (count === 0) break;
        done += count;
      }
      return done;
    });
  }

  writeSync(source: Buffer, position: number): void {
    for (let done = 0; done < source.length; ) {
      const length = Math.min(source.length - done, CALL_BYTES_MAX);
      done += this.#try('write', () => wrote(writeSync(this.#fd, source, done, length, position + done)));
    }
  }

  write(source: Buffer, position: number): Promise<void> {
    return this.#during(async (fd) => {
      for (let done = 0; done < source.length; ) done += await this.#writePart(fd, source, done, position + done);
    });
  }

  datasync(): Promise<void> {
    return this.#during(
      (fd) =>
        new Promise((resolve, reject) => {
          fdatasync(fd, (error) => {
            if (error === null) resolve();
            else reject(diskError('sync', this.path, error));
          });
        }),
    );
  }

  truncate(sizeBytes: number): void {
    this.#try('truncate', () => ftruncateSync(this.#fd, sizeBytes));
  }

  reserve(sizeBytes: number): Promise<void> {
    return this.#during(async (fd) => {
      try {
        await reserveSpace(fd, sizeBytes);
      } catch (cause) {
        throw diskError(`set aside ${sizeBytes} bytes for`, this.path, cause);
      }
    });
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    if (this.#underWay === 0) this.#release();
  }

  get #fd(): number {
    if (this.#closed) throw new StorageError('CANCELLED', `${this.path} has been closed`);
    return this.#descriptor;
  }

  async #during<T>(work: (fd: number) => Promise<T>): Promise<T> {
    const fd = this.#fd;
    this.#underWay++;
    try {
      return await work(fd);
    } finally {
      this.#underWay--;
      if (this.#closed && this.#underWay === 0) this.#release();
    }
  }

  #release(): void {
    try {
      closeSync(this.#descriptor);
    } catch {
      // What counts was synced, or its owner knows that it was not.
    }
  }

  #readPart(fd: number, target: Buffer, done: number, position: number): Promise<number> {
    const length = Math.min(target.length - done, CALL_BYTES_MAX);
    return new Promise((resolve, reject) => {
      const attempt = (): void => {
        read(fd, target, done, length, position, (error, count) => {
          if (error === null) resolve(count);
          else if (errnoOf(error) === 'EINTR') attempt();
          else reject(diskError('read', this.path, error));
        });
      };
      attempt();
    });
  }

  #writePart(fd: number, source: Buffer, done: number, position: number): Promise<number> {
    const length = Math.min(source.length - done, CALL_BYTES_MAX);
    return new Promise((resolve, reject) => {
      write(fd, source, done, length, position, (error, count) => {
        try {
          if (error !== null) throw error;
          resolve(wrote(count));
        } catch (cause) {
          reject(diskError('write', this.path, cause));
        }
      });
    });
  }

  #try<T>(operation: string, call: () => T): T {
    try {
      return call();
    } catch (cause) {
      throw diskError(operation, this.path, cause);
    }
  }

  /** Undefined where a signal came in between; libuv sees to that itself for all calls but reading. */
  #tryInterrupted<T>(operation: string, call: () => T): T | undefined {
    try {
      return call();
    } catch (cause) {
      if (errnoOf(cause) === 'EINTR') return undefined;
      throw diskError(operation, this.path, cause);
    }
  }
}

/** A call that writes nothing and reports nothing would be made for ever. */
function wrote(count: number): number {
  if (count === 0) throw new Error('the system has written nothing');
  return count;
}
