/** TLS as the appliance has it: read before anybody is served, kept up with its files, told of in status. */
import type { TlsStatus } from './cli/actions.ts';
import type { TlsMode, TlsSettings } from './config/settings.ts';
import type { Clock } from './lib/clock.ts';
import type { Log } from './lib/log.ts';
import { CredentialFiles } from './nbd/tls/credential-files.ts';
import { TlsAcceptor } from './nbd/tls/tls-acceptor.ts';

export interface TlsServiceOptions {
  readonly settings: TlsSettings;
  readonly clock: Clock;
  readonly log: Log;
}

export class TlsService {
  readonly acceptor: TlsAcceptor;
  readonly #settings: TlsSettings;
  readonly #files: CredentialFiles;
  readonly #stop = new AbortController();
  #watching: Promise<void> = Promise.resolve();

  constructor({ settings, clock, log }: TlsServiceOptions) {
    this.#settings = settings;
    this.acceptor = new TlsAcceptor(settings.verifyClients);
    this.#files = new CredentialFiles({ files: settings, acceptor: this.acceptor, clock, log });
  }

  /** Rejects with INVALID where the files are no good. */
  async start(): Promise<void> {
    await this.#files.load();
    this.#watching = this.#files.watch(this.#stop.signal);
  }

  /** Reads the files again; new clients get what is in them. */
  reload(): Promise<void> {
    return this.#files.reload();
  }

  async stop(): Promise<void> {
    this.#stop.abort();
    await this.#watching;
  }

  status(): TlsStatus {
    const { certificate, pskKeys } = this.acceptor.credentials ?? {};
    return {
      mode: this.#settings.mode,
      socketMode: this.#settings.socketMode,
      verifyClients: this.#settings.verifyClients,
      certificate: certificate?.subject ?? null,
      validTo: certificate?.validTo.toISOString() ?? null,
      pskUsers: pskKeys?.size ?? null,
      error: this.#files.failure,
    };
  }
}

/** Null where no client can use TLS. */
export function tlsServiceFor(options: TlsServiceOptions): TlsService | null {
  const { mode, socketMode } = options.settings;
  return mode === 'off' && socketMode === 'off' ? null : new TlsService(options);
}

/** The mode of a setting in the server's words. */
export function handshakeTls(mode: TlsMode): 'off' | 'offered' | 'required' {
  return mode === 'on' ? 'offered' : mode;
}
