/** Makes accepted connections encrypted ones, and finds out who is at their other end. */
import { randomBytes } from 'node:crypto';
import { Socket } from 'node:net';
import { createServer, type Server, type TLSSocket } from 'node:tls';
import { describeError, StorageError } from '../../lib/errors.ts';
import { certificateNames } from './certificate-names.ts';
import type { TlsCredentials } from './credentials.ts';

/** `none`: no certificate is asked for. `optional`: who has one must have a good one. `require`: nobody without one, or a pre-shared key. */
export type VerifyClients = 'none' | 'optional' | 'require';

/** The other end of an encrypted connection. */
export interface SecuredPeer {
  readonly socket: TLSSocket;
  /** `TLSv1.3`. */
  readonly protocol: string;
  /** As `ClientIdentity` has them. */
  readonly names: readonly string[];
}

export interface TlsListener {
  secured(peer: SecuredPeer): void;
  /** The handshake came to nothing. The socket is the caller's to destroy. */
  failed(error: StorageError): void;
}

/** What a client has said in the course of a handshake, before it has proved any of it. */
interface Claims {
  readonly users: Set<string>;
  unknownUser: boolean;
}

const DECOY_KEY_BYTES = 32;
const SHOWN_USER_LENGTH_MAX = 64;

export class TlsAcceptor {
  readonly #verifyClients: VerifyClients;
  #server: Server | undefined;
  #credentials: TlsCredentials | undefined;
  /** Handshakes under way, by the socket they are on. */
  readonly #listeners = new Map<Socket, TlsListener>();
  readonly #claims = new WeakMap<TLSSocket, Claims>();

  constructor(verifyClients: VerifyClients) {
    this.#verifyClients = verifyClients;
  }

  /** What handshakes that begin from now on go by. Connections that have had theirs go on. */
  use(credentials: TlsCredentials): void {
    const { context, pskKeys } = credentials;
    const server = createServer({
      ...context,
      requestCert: this.#verifyClients !== 'none',
      // Decided in `#identify`, where pre-shared keys count too.
      rejectUnauthorized: false,
      ...(pskKeys === null ? {} : { pskCallback: (socket: TLSSocket, user: string) => this.#keyOf(socket, user) }),
    });
    server.on('secureConnection', (socket) => this.#secured(socket));
    server.on('tlsClientError', (error, socket) => {
      const { users, unknownUser } = this.#claims.get(socket) ?? { users: new Set<string>(), unknownUser: false };
      const [user = ''] = users;
      const asked = users.size === 0 ? '' : ` of ${unknownUser ? 'the unknown' : 'the'} user ${shownUser(user)}`;
      const cause = error;
      this.#take(socket)?.failed(
        new StorageError('ACCESS_DENIED', `the TLS handshake${asked} failed: ${reasonOf(error)}`, { cause }),
      );
    });
    this.#server = server;
    this.#credentials = credentials;
  }

  get credentials(): TlsCredentials | undefined {
    return this.#credentials;
  }

  /**
   * Begins a handshake on a socket that is paused and on which everything has been sent. One of the listener's methods is
   * called once, unless `forget` is called before.
   */
  accept(socket: Socket, listener: TlsListener): void {
    const server = this.#server;
    if (server === undefined) throw new Error('TLS without credentials');
    this.#listeners.set(socket, listener);
    // Who ends its side in the midst of the handshake has given it up. Later it may still want its answers.
    socket.allowHalfOpen = false;
    server.emit('connection', socket);
  }

  /** The socket is closed, or will be: its listener is not called any more. */
  forget(socket: Socket): void {
    this.#listeners.delete(socket);
  }

  /**
   * A user that is not known gets a key that nobody has. The handshake fails as with a wrong key, so that nobody learns which
   * users there are, and it does not go on by certificate instead.
   */
  #keyOf(socket: TLSSocket, user: string): Buffer {
    const key = this.#credentials?.pskKeys?.get(user);
    const claims = this.#claims.get(socket) ?? { users: new Set(), unknownUser: false };
    claims.users.add(user);
    claims.unknownUser ||= key === undefined;
    this.#claims.set(socket, claims);
    return key ?? randomBytes(DECOY_KEY_BYTES);
  }

  #secured(socket: TLSSocket): void {
    // Later errors are the listener's to hear; until it has the socket there are none of its own.
    const listener = this.#take(socket);
    if (listener === undefined) {
      socket.destroy();
      return;
    }
    let names: readonly string[];
    try {
      names = this.#identify(socket);
    } catch (error) {
      const message = error instanceof StorageError ? error.message : describeError(error);
      listener.failed(new StorageError('ACCESS_DENIED', message, { cause: error }));
      return;
    }
    socket.allowHalfOpen = true;
    listener.secured({ socket, protocol: socket.getProtocol() ?? 'TLS', names });
  }

  /** What the client has proved, and not only said. Throws ACCESS_DENIED where it may not come in. */
  #identify(socket: TLSSocket): readonly string[] {
    const certificate = socket.getPeerX509Certificate();
    if (certificate !== undefined) {
      if (socket.authorized) return certificateNames(certificate);
      throw new StorageError('ACCESS_DENIED', `the client's certificate was refused: ${socket.authorizationError}`);
    }
    if (hasUsedSharedKey(socket)) {
      const { users, unknownUser } = this.#claims.get(socket) ?? { users: new Set<string>(), unknownUser: true };
      const [user] = users;
      // Of several that were offered we are not told which one it was.
      if (users.size === 1 && !unknownUser && user !== undefined) return [`psk:${user}`];
      throw new StorageError('ACCESS_DENIED', 'the client offered pre-shared keys of several users');
    }
    if (this.#verifyClients !== 'require') return [];
    throw new StorageError('ACCESS_DENIED', 'the client has shown no certificate');
  }

  #take(socket: TLSSocket): TlsListener | undefined {
    const inner = innerSocket(socket);
    const listener = inner === undefined ? undefined : this.#listeners.get(inner);
    if (inner !== undefined) this.#listeners.delete(inner);
    return listener;
  }
}

/** That a user was named during the handshake proves nothing: it may have been completed by certificate all the same. */
function hasUsedSharedKey(socket: TLSSocket): boolean {
  // TLS 1.3 takes a key for a session that is resumed; there are no others, as no tickets are given out.
  if (socket.getProtocol() === 'TLSv1.3') return socket.isSessionReused();
  return /_PSK_WITH_/.test(socket.getCipher().standardName);
}

/**
 * The socket that a TLS socket was made on. Node does not document the property; without it no handshake would find its
 * listener, and every one be given up.
 */
function innerSocket(socket: TLSSocket): Socket | undefined {
  const { _parent: inner } = socket as unknown as { readonly _parent?: unknown };
  return inner instanceof Socket ? inner : undefined;
}

function shownUser(user: string): string {
  return JSON.stringify(user.length <= SHOWN_USER_LENGTH_MAX ? user : `${user.slice(0, SHOWN_USER_LENGTH_MAX)}...`);
}

function reasonOf(error: Error & { readonly reason?: string; readonly code?: string }): string {
  return error.reason ?? (error.code === 'ECONNRESET' ? 'the client went away' : error.message);
}
