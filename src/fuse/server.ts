/** The FUSE server: a directory with a file for each volume, from mounting it until nothing of it is left. */
import type { Clock } from '../lib/clock.ts';
import { withDeadline } from '../lib/deadline.ts';
import { describeError, StorageError } from '../lib/errors.ts';
import type { Log } from '../lib/log.ts';
import { FuseChannel } from './channel.ts';
import type { Owner } from './directory-requests.ts';
import type { FileTable } from './files.ts';
import { DEFAULT_LIMITS, type FuseLimits } from './limits.ts';
import { MountPoint } from './mount-point.ts';
import { RECEIVE_BYTES, Session } from './session.ts';
import { TRANSFER_BYTES_MAX } from './wire.ts';

export interface FuseServerOptions {
  readonly files: FileTable;
  readonly owner: Owner;
  /** Who serves: of two processes that say the same one is dead. */
  readonly instance: string;
  readonly clock: Clock;
  readonly log: Log;
  /** Those left out are DEFAULT_LIMITS'. */
  readonly limits?: Partial<FuseLimits>;
}

export interface FuseStatus {
  /** Where it is mounted, without symbolic links. */
  readonly dir: string;
  /** False once somebody else has unmounted it. */
  readonly mounted: boolean;
  /** Times that files of it are open. */
  readonly openFiles: number;
  /** Since it was mounted. */
  readonly requests: number;
  readonly requestsInFlight: number;
  readonly bytesInFlight: number;
  /** What has been asked of each file's bytes. */
  readonly files: ReturnType<Session['counters']>;
}

export interface CloseOptions {
  /** How long files may still be in use, and requests under way take, before they are cut off. */
  readonly deadlineMs: number;
}

const NEGOTIATION_TIMEOUT_MS = 10_000;
/** After unmounting the kernel ends the connection at once, unless the mount is seen elsewhere too. */
const END_TIMEOUT_MS = 2_000;
const OPEN_PAUSE_MS = 200;

export class FuseServer {
  readonly #options: FuseServerOptions;
  readonly #log: Log;
  #point: MountPoint | undefined;
  #channel: FuseChannel | undefined;
  #session: Session | undefined;
  #paused = false;
  #closing: Promise<boolean> | undefined;
  readonly #hurry = new AbortController();
  readonly #negotiated = Promise.withResolvers<void>();
  readonly #ended = Promise.withResolvers<void>();
  #mounted = false;
  /** Told whenever requests have completed. */
  #onProgress: () => void = () => {};

  constructor(options: FuseServerOptions) {
    this.#options = options;
    this.#log = options.log;
    // Who waits for it sees it; nobody has to.
    this.#negotiated.promise.catch(() => {});
  }

  /** Takes away what earlier processes of this instance that were killed have left, wherever it is mounted. Never rejects. */
  reclaim(): Promise<void> {
    const { instance, clock } = this.#options;
    return MountPoint.reclaim(instance, clock, this.#log);
  }

  /** Mounts on `dir`. When it rejects, nothing is left mounted. */
  async mount(dir: string, signal: AbortSignal): Promise<void> {
    const { clock, owner, instance } = this.#options;
    const point = await MountPoint.prepare(dir, clock, this.#log);
    const channel = new FuseChannel(RECEIVE_BYTES, this.#log);
    this.#channel = channel;
    try {
      await point.mount({ fd: channel.fd, ...owner, instance, readBytesMax: TRANSFER_BYTES_MAX, signal });
      this.#point = point;
      this.#session = this.#startSession(channel);
      this.#mounted = true;
      channel.start({
        received: (buffer, length) => this.#received(buffer, length),
        ended: (error) => this.#onEnded(error),
      });
      await this.#deadline(NEGOTIATION_TIMEOUT_MS, this.#negotiated.promise, signal, 'the kernel to greet us');
    } catch (error) {
      if (this.#mounted) await this.close({ deadlineMs: 0 });
      else channel.close();
      throw error;
    }
    this.#log.info('the volumes are files', { dir: point.path });
  }

  /** How often the file is open. */
  openFiles(name: string): number {
    return this.#mounted ? (this.#session?.openFiles(name) ?? 0) : 0;
  }

  /** Null before it is mounted. */
  status(): FuseStatus | null {
    if (this.#point === undefined) return null;
    return {
      dir: this.#point.path,
      mounted: this.#mounted,
      openFiles: this.#options.files.list().reduce((sum, { name }) => sum + this.openFiles(name), 0),
      requests: this.#session?.requests ?? 0,
      requestsInFlight: this.#session?.inFlight ?? 0,
      bytesInFlight: this.#session?.bytesInFlight ?? 0,
      files: this.#session?.counters() ?? [],
    };
  }

  /**
   * Unmounts, waits for requests under way, and ends the connection. False where files were in use, or requests not
   * answered, until the deadline. A second call makes the first one hurry.
   */
  close({ deadlineMs }: CloseOptions): Promise<boolean> {
    if (this.#closing !== undefined || deadlineMs <= 0) this.#hurry.abort();
    this.#closing ??= this.#close(deadlineMs);
    return this.#closing;
  }

  async #close(deadlineMs: number): Promise<boolean> {
    const { clock } = this.#options;
    if (this.#point === undefined) return true;
    const point = this.#point;
    const clean = await withDeadline(
      clock,
      deadlineMs,
      async (until) => {
        const unused = (await point.unmount(until)) && (await this.#unused(until));
        if (!unused) this.#session?.shutdown();
        return (await this.#idle(until)) && unused;
      },
      this.#hurry.signal,
    );
    if (clean) await this.#deadline(END_TIMEOUT_MS, this.#ended.promise).catch(() => {});
    this.#channel?.close();
    await this.#ended.promise;
    this.#log.debug('the directory is unmounted', { dir: point.path, clean });
    return clean;
  }

  #startSession(channel: FuseChannel): Session {
    const { files, owner, clock, limits } = this.#options;
    return new Session({
      files,
      owner,
      limits: { ...DEFAULT_LIMITS, ...limits },
      replies: channel,
      buffers: channel.buffers,
      clock,
      log: this.#log,
      onNegotiated: (error) => {
        if (error === null) this.#negotiated.resolve();
        else this.#negotiated.reject(new StorageError('UNSUPPORTED', error.message, { cause: error }));
      },
      onProgress: () => {
        this.#onProgress();
        if (!this.#paused || this.#session?.full) return;
        this.#paused = false;
        channel.resume();
      },
    });
  }

  #received(buffer: Buffer, length: number): boolean {
    const session = this.#session;
    if (session === undefined) return false;
    session.receive(buffer, length);
    this.#paused = session.full;
    return !this.#paused;
  }

  #onEnded(error: Error | null): void {
    this.#mounted = false;
    this.#negotiated.reject(new StorageError('UNAVAILABLE', 'the directory was unmounted again'));
    if (error !== null) this.#log.error('the FUSE device failed', { error: describeError(error) });
    if (this.#closing === undefined) {
      const what = error === null ? 'was unmounted by somebody else' : 'is gone with its device';
      this.#log.warn(`the directory ${what}; NBD goes on`, { event: 'fuse-unmounted' });
    }
    this.#ended.resolve();
  }

  /**
   * Where it is not seen any more files may still be open: by way of another mount namespace, as a container has one, or from
   * before somebody has unmounted it lazily. False where some still were when `until` aborted.
   */
  async #unused(until: AbortSignal): Promise<boolean> {
    const { clock } = this.#options;
    for (let looks = 0; ; looks++) {
      const openFiles = this.status()?.openFiles ?? 0;
      if (openFiles === 0) return true;
      const fields = { dir: this.#point?.path, openFiles };
      if (until.aborted) {
        this.#log.warn(
          'files are still open where the directory is seen elsewhere: programs that have them are cut off',
          {
            ...fields,
            event: 'fuse-busy',
          },
        );
        return false;
      }
      // The first time it may be one whose closing has not come here yet.
      if (looks === 1) {
        this.#log.warn(
          'the directory is unmounted, and files of it are still open, as in a container: close them',
          fields,
        );
      }
      await clock.sleep(OPEN_PAUSE_MS, until).catch(() => {});
    }
  }

  /** False where requests were still under way when `until` aborted. */
  async #idle(until: AbortSignal): Promise<boolean> {
    const session = this.#session;
    if (session === undefined || session.inFlight === 0) return true;
    if (until.aborted) return false;
    return new Promise((resolve) => {
      const onAbort = (): void => settle(false);
      const settle = (idle: boolean): void => {
        this.#onProgress = () => {};
        until.removeEventListener('abort', onAbort);
        resolve(idle);
      };
      until.addEventListener('abort', onAbort, { once: true });
      this.#onProgress = () => {
        if (session.inFlight === 0) settle(true);
      };
    });
  }

  /** Rejects with TIMEOUT, or CANCELLED by the signal, where `work` does not settle before. */
  async #deadline(ms: number, work: Promise<void>, signal?: AbortSignal, what = 'the end'): Promise<void> {
    const { clock } = this.#options;
    const over = new AbortController();
    try {
      const until = signal === undefined ? over.signal : AbortSignal.any([over.signal, signal]);
      const tooLate = clock.sleep(ms, until).then(() => {
        throw new StorageError('TIMEOUT', `waited ${ms} ms for ${what}`);
      });
      await Promise.race([work, tooLate]);
    } finally {
      over.abort();
    }
  }
}
