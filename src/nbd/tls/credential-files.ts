/** Keeps what TLS goes by as its files have it: certificates are renewed, and users come and go, while disks stay attached. */
import { stat } from 'node:fs/promises';
import type { Clock } from '../../lib/clock.ts';
import { describeError, isStorageError } from '../../lib/errors.ts';
import type { Log } from '../../lib/log.ts';
import { loadCredentials, type TlsFiles } from './credentials.ts';
import type { TlsAcceptor } from './tls-acceptor.ts';

export interface CredentialFilesOptions {
  readonly files: TlsFiles;
  /** Gets what the files say, whenever that is new and good. */
  readonly acceptor: TlsAcceptor;
  readonly clock: Clock;
  readonly log: Log;
}

/**
 * How often the files are looked at: a few calls of stat, which also see what notifications miss, such as files on a network
 * and links that change their target.
 */
const LOOK_INTERVAL_MS = 5_000;
/** So long before a certificate expires that is told. */
export const EXPIRY_WARNING_MS: number = 14 * 24 * 60 * 60 * 1000;

export class CredentialFiles {
  readonly #files: TlsFiles;
  readonly #acceptor: TlsAcceptor;
  readonly #clock: Clock;
  readonly #log: Log;
  /** How the files looked when they were last read, and when they were last looked at. */
  #readAs = '';
  #seenAs = '';
  #failure: string | null = null;
  /** Reads one after the other, so that the newest wins. */
  #reading: Promise<unknown> = Promise.resolve();

  constructor({ files, acceptor, clock, log }: CredentialFilesOptions) {
    this.#files = files;
    this.#acceptor = acceptor;
    this.#clock = clock;
    this.#log = log;
  }

  /** Why the files that are there now are not in use, or null. */
  get failure(): string | null {
    return this.#failure;
  }

  /** For the start: rejects with INVALID where the files are no good. */
  async load(): Promise<void> {
    this.#readAs = await this.#look();
    this.#acceptor.use(await loadCredentials(this.#files));
    this.#tellExpiry();
  }

  /** Reads the files again. Where they are no good, what there was stays in use. Never rejects. */
  reload(): Promise<void> {
    const reading = this.#reading.then(() => this.#reload());
    this.#reading = reading;
    return reading;
  }

  /** Looks at the files from time to time, until the signal aborts. Never rejects. */
  async watch(signal: AbortSignal): Promise<void> {
    try {
      for (;;) {
        await this.#clock.sleep(LOOK_INTERVAL_MS, signal);
        await this.#readIfChanged();
      }
    } catch (error) {
      if (!isStorageError(error, 'CANCELLED')) {
        this.#log.error('the TLS files are not watched any more', { error: describeError(error) });
      }
    }
  }

  /** A change is believed when a second look sees the same: several files are seldom replaced at once. */
  async #readIfChanged(): Promise<void> {
    const looks = await this.#look();
    const settled = looks === this.#seenAs;
    this.#seenAs = looks;
    if (settled && looks !== this.#readAs) await this.reload();
  }

  async #reload(): Promise<void> {
    this.#readAs = await this.#look();
    try {
      this.#acceptor.use(await loadCredentials(this.#files));
    } catch (error) {
      this.#failure = describeError(error);
      this.#log.error('the TLS files cannot be used; new clients get what was read before', {
        error: this.#failure,
        event: 'tls-reload-failed',
      });
      return;
    }
    this.#failure = null;
    const { certificate, pskKeys } = this.#acceptor.credentials ?? {};
    this.#log.info('the TLS files were read again', {
      certificate: certificate?.subject,
      validTo: certificate?.validTo,
      pskUsers: pskKeys?.size,
      event: 'tls-reloaded',
    });
    this.#tellExpiry();
  }

  #tellExpiry(): void {
    const certificate = this.#acceptor.credentials?.certificate;
    if (certificate == null) return;
    const leftMs = certificate.validTo.getTime() - this.#clock.date().getTime();
    const fields = { certificate: certificate.subject, validTo: certificate.validTo };
    if (leftMs <= 0) this.#log.error('the TLS certificate has expired: clients will refuse it', fields);
    else if (leftMs < EXPIRY_WARNING_MS) this.#log.warn('the TLS certificate expires soon', fields);
  }

  /** Whatever would be different in another version of a file. */
  async #look(): Promise<string> {
    const { certFile, keyFile, caFile, pskFile } = this.#files;
    const paths = [certFile, keyFile, caFile, pskFile].filter((path) => path !== null);
    const looks = paths.map((path) =>
      stat(path).then(
        ({ dev, ino, size, mtimeMs, ctimeMs }) => [dev, ino, size, mtimeMs, ctimeMs].join(),
        (error: NodeJS.ErrnoException) => error.code ?? '',
      ),
    );
    return (await Promise.all(looks)).join(' ');
  }
}
