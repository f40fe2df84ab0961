/** The NBD server: listens, accepts up to its limits, and closes without losing an answer. */
import { createServer, type Server, type Socket } from 'node:net';
import { describeError, StorageError } from '../lib/errors.ts';
import type { Log } from '../lib/log.ts';
import type { BlockDevice } from '../volume/block-device.ts';
import { Connection, type ConnectionShared } from './connection.ts';
import type { ConnectionStatus } from './connection-status.ts';
import { type ClientIdentity, type ExportTable, NOBODY } from './exports.ts';
import type { HandshakeTls } from './handshake.ts';
import { SharedBudget } from './in-flight-budget.ts';
import { DEFAULT_LIMITS, type NbdLimits } from './limits.ts';
import { type ListenTarget, listen, type ServerAddress } from './listen.ts';
import { META_CONTEXTS, type MetaContext } from './meta-context.ts';
import { PayloadPool } from './payload-pool.ts';
import { SlabPool } from './reply-queue.ts';
import { RequestStatsTable } from './request-stats.ts';
import type { TlsAcceptor } from './tls/tls-acceptor.ts';
import { Turns } from './turns.ts';

export interface NbdServerOptions {
  readonly exports: ExportTable;
  readonly log: Log;
  /** Those left out are DEFAULT_LIMITS'. */
  readonly limits?: Partial<NbdLimits>;
  /** What BLOCK_STATUS can tell; `base:allocation` where left out. */
  readonly contexts?: readonly MetaContext[];
  /** Without it STARTTLS is refused. */
  readonly tls?: TlsAcceptor;
}

/** Where to listen, and what its clients are to do about TLS: where nothing is said they may use it, if the server can. */
export type NbdListenTarget = ListenTarget & {
  readonly tls?: Exclude<HandshakeTls, 'on'>;
  /** Who its clients are, before they have shown anything. Left out: `socket` on a unix socket, else nobody in particular. */
  readonly client?: ClientIdentity;
};

/** Who may open a unix socket has been let in by the system. */
const LOCAL_CLIENT = Object.freeze({ tls: null, names: Object.freeze(['socket']) });

export interface NbdCounters {
  readonly acceptedConnections: number;
  /** Turned away because there were too many, or we were closing. */
  readonly refusedConnections: number;
  readonly exports: ReturnType<RequestStatsTable['snapshot']>;
}

export interface CloseOptions {
  /** How long requests under way may take; connections that are not done by then are cut. */
  readonly deadlineMs: number;
}

const RECEIVE_BUFFER_BYTES = 128 * 1024;
const SLABS_KEPT_MAX = 64;
const PAYLOAD_BYTES_KEPT_MAX = 32 * 1024 * 1024;

export class NbdServer {
  readonly #log: Log;
  readonly #shared: ConnectionShared;
  readonly #listeners = new Map<Server, ServerAddress>();
  readonly #connections = new Set<Connection>();
  readonly #stallTimer: NodeJS.Timeout;
  #nextConnectionId = 1;
  #refusedConnections = 0;
  #closing: Promise<void> | undefined;
  /** Told whenever a connection has closed. */
  readonly #closedListeners = new Set<() => void>();

  constructor(options: NbdServerOptions) {
    this.#log = options.log;
    const limits = { ...DEFAULT_LIMITS, ...options.limits };
    this.#shared = {
      exports: options.exports,
      contexts: options.contexts ?? META_CONTEXTS,
      limits,
      budget: new SharedBudget(limits.inFlightBytesMax, limits.inFlightRequestsPerVolumeMax),
      slabs: new SlabPool(SLABS_KEPT_MAX),
      payloads: new PayloadPool(Math.min(PAYLOAD_BYTES_KEPT_MAX, limits.inFlightBytesMax)),
      stats: new RequestStatsTable(),
      receiveBuffer: Buffer.allocUnsafeSlow(RECEIVE_BUFFER_BYTES),
      turns: new Turns(),
      tls: options.tls ?? null,
    };
    this.#stallTimer = setInterval(() => {
      for (const connection of this.#connections) connection.checkStall();
    }, limits.stallTimeoutMs);
    this.#stallTimer.unref();
  }

  /** May be called several times. Rejects with HELD where somebody else listens there, INVALID where nobody can, CANCELLED if it closes. */
  async listen(target: NbdListenTarget): Promise<ServerAddress> {
    if (target.tls === 'required' && this.#shared.tls === null) {
      throw new StorageError('INVALID', 'TLS cannot be required where the server has none');
    }
    // Keep-alive without a delay of ours: with one, Node gives a peer that is silent for ten seconds up, and an idle disk
    // would not survive a short outage of the network. The system's own settings bear some eleven minutes.
    const server = createServer({ allowHalfOpen: true, pauseOnConnect: true, noDelay: true, keepAlive: true });
    server.on('connection', (socket) => this.#accept(socket, target));
    const address = await listen(server, target);
    server.on('error', (error) => this.#log.error('cannot accept a connection', { error: describeError(error) }));
    if (this.#closing !== undefined) {
      server.close();
      throw new StorageError('CANCELLED', 'the server is closing');
    }
    this.#listeners.set(server, address);
    return address;
  }

  /** Where it listens. */
  addresses(): ServerAddress[] {
    return [...this.#listeners.values()];
  }

  connections(): ConnectionStatus[] {
    return [...this.#connections].map((connection) => connection.status());
  }

  /** Payload bytes of requests under way, over all connections. */
  get bytesInFlight(): number {
    return this.#shared.budget.usedBytes;
  }

  /** What has been counted since the start, over all connections there ever were. */
  counters(): NbdCounters {
    return {
      acceptedConnections: this.#nextConnectionId - 1,
      refusedConnections: this.#refusedConnections,
      exports: this.#shared.stats.snapshot(),
    };
  }

  /**
   * Detaches every client of `device`: what is under way is answered, what comes is refused with ESHUTDOWN. The export
   * must no longer be in the table, or new clients come.
   */
  async detach(device: BlockDevice, options: CloseOptions): Promise<void> {
    await this.#retire((connection) => connection.device === device, options.deadlineMs);
  }

  /**
   * Stops accepting, refuses new requests (ESHUTDOWN) and options (ERR_SHUTDOWN), waits until those under way have been
   * answered and sent, and closes. A second call cuts what is still open.
   */
  close(options: CloseOptions): Promise<void> {
    if (this.#closing !== undefined) {
      for (const connection of this.#connections) connection.destroy('the server was closed');
      return this.#closing;
    }
    this.#closing = this.#close(options.deadlineMs);
    return this.#closing;
  }

  async #close(deadlineMs: number): Promise<void> {
    const startedMs = performance.now();
    const listenersClosed = [...this.#listeners.keys()].map(
      (server) => new Promise<void>((resolve) => server.close(() => resolve())),
    );
    for (const connection of this.#connections) connection.shutdown();
    // Clients in the handshake stay until the last request has been answered, so that they too can be told.
    await this.#retire((connection) => connection.device !== undefined, deadlineMs);
    await this.#retire(() => true, deadlineMs - (performance.now() - startedMs));
    await Promise.all(listenersClosed);
    this.#listeners.clear();
    clearInterval(this.#stallTimer);
  }

  async #retire(selected: (connection: Connection) => boolean, deadlineMs: number): Promise<void> {
    const left = () => [...this.#connections].filter(selected);
    for (const connection of left()) connection.retire();
    const deadline = setTimeout(
      () => {
        for (const connection of left()) connection.destroy('it was not done by the deadline');
      },
      Math.max(0, deadlineMs),
    );
    while (left().length > 0) await this.#oneClosed();
    clearTimeout(deadline);
  }

  #oneClosed(): Promise<void> {
    return new Promise((resolve) => {
      const listener = () => {
        this.#closedListeners.delete(listener);
        resolve();
      };
      this.#closedListeners.add(listener);
    });
  }

  /** Whoever has been without an export for longest gives way: so nobody is kept out by those who only connect. */
  #makeRoom(): boolean {
    for (const connection of this.#connections) {
      if (connection.device !== undefined) continue;
      connection.destroy('a newer client needed its place before it had chosen an export');
      this.#connections.delete(connection);
      return true;
    }
    return false;
  }

  #accept(socket: Socket, target: NbdListenTarget): void {
    const { connectionsMax } = this.#shared.limits;
    if (this.#closing !== undefined || (this.#connections.size >= connectionsMax && !this.#makeRoom())) {
      this.#refusedConnections++;
      this.#log.warn('connection refused', { connections: this.#connections.size, connectionsMax });
      socket.destroy();
      return;
    }
    const tls = target.tls ?? (this.#shared.tls === null ? 'off' : 'offered');
    const client = target.client ?? ('path' in target ? LOCAL_CLIENT : NOBODY);
    const connection = new Connection(
      { id: this.#nextConnectionId++, socket, peer: peerName(socket, target), client, tls },
      this.#shared,
      this.#log,
      (closed) => {
        this.#connections.delete(closed);
        for (const listener of [...this.#closedListeners]) listener();
      },
    );
    this.#connections.add(connection);
  }
}

function peerName(socket: Socket, target: ListenTarget): string {
  if ('path' in target) return `unix:${target.path}`;
  // A client that has gone by now has no address any more.
  return socket.remoteAddress === undefined ? 'unknown' : `${socket.remoteAddress}:${socket.remotePort}`;
}
