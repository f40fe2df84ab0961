/** One client's socket: bytes in to its session, replies out, and the rules by which it is paused, ended and given up. */
import type { Socket } from 'node:net';
import { describeError } from '../lib/errors.ts';
import type { Log } from '../lib/log.ts';
import type { BlockDevice } from '../volume/block-device.ts';
import type { ConnectionState, ConnectionStatus } from './connection-status.ts';
import type { ClientIdentity, ExportTable } from './exports.ts';
import type { HandshakeTls } from './handshake.ts';
import { InFlightBudget, type SharedBudget } from './in-flight-budget.ts';
import type { NbdLimits } from './limits.ts';
import type { MetaContext } from './meta-context.ts';
import type { PayloadPool } from './payload-pool.ts';
import { ReplyQueue, type SlabPool } from './reply-queue.ts';
import type { RequestStatsTable } from './request-stats.ts';
import { Session } from './session.ts';
import { readByEvents, readInto, type SocketReader } from './socket-reader.ts';
import { StallWatch } from './stall-watch.ts';
import type { SecuredPeer, TlsAcceptor } from './tls/tls-acceptor.ts';
import { Turn, type Turns } from './turns.ts';

/** What the connections of a server have in common. */
export interface ConnectionShared {
  readonly exports: ExportTable;
  readonly contexts: readonly MetaContext[];
  readonly limits: NbdLimits;
  readonly budget: SharedBudget;
  readonly slabs: SlabPool;
  readonly payloads: PayloadPool;
  readonly stats: RequestStatsTable;
  /** Every connection receives into it, as what it holds is dealt with before the next read of any of them. */
  readonly receiveBuffer: Buffer;
  readonly turns: Turns;
  /** Null where TLS is not to be had. */
  readonly tls: TlsAcceptor | null;
}

/** A client that has just come. */
export interface Accepted {
  readonly id: number;
  /** Accepted with `pauseOnConnect`. */
  readonly socket: Socket;
  /** `host:port`, or `unix:path`. */
  readonly peer: string;
  /** Who it is by the way it has come. */
  readonly client: ClientIdentity;
  readonly tls: Exclude<HandshakeTls, 'on'>;
}

/** One write: small enough that a peer on a slow line completes one before it counts as stalled. */
const WRITE_BYTES_MAX = 512 * 1024;
/** A payload of which at least this much is missing is received in place. */
const DIRECT_BYTES_MIN = 16 * 1024;
/** While payloads are large, what comes between them is read in pieces this short, so that little of the next is copied. */
const SHORT_RECEIVE_BYTES = 4096;
/** The payload holds memory that others wait for: as much of it as of a reply must get through in a stall timeout. */
const PAYLOAD_PROGRESS_BYTES_MIN = WRITE_BYTES_MAX;
/** How long a peer may take to close its side after we have ended ours. Closing sooner might lose our last replies. */
const LINGER_MS = 2_000;

export class Connection implements SocketReader {
  readonly id: number;
  readonly #peer: string;
  readonly #since = new Date();
  readonly #shared: ConnectionShared;
  readonly #log: Log;
  readonly #onClosed: (connection: Connection) => void;
  readonly #budget: InFlightBudget;
  readonly #replies: ReplyQueue;
  readonly #session: Session;
  /** The one that was accepted. Its end is the connection's, also where another is on top of it. */
  readonly #transport: Socket;
  /** What is read and written: the transport, or TLS over it. */
  #socket: Socket;
  readonly #shortReceiveBuffer: Buffer;
  readonly #handshakeTimer: NodeJS.Timeout;
  #lingerTimer: NodeJS.Timeout | undefined;

  readonly #turn = new Turn();
  #awaitsTurn = false;
  /**
   * Input that could not be taken yet; while there is some, nothing is read. That is never so in the midst of a payload: its
   * room is with the socket then, which would fill it once more after the payload had been completed from here.
   */
  #parked: Buffer | undefined;
  /** The payload room handed to the socket. */
  #room: Buffer | undefined;
  #largePayloads = false;
  #goesOnSoon = false;
  #writing = false;
  /** Callbacks still to come of writes that the system took at once. */
  #callbacksDue = 0;
  /** Something has been sent since input was last taken: there may be room for more. */
  #sentSince = false;
  /** The TLS handshake is under way. */
  #securing = false;
  #inputEnded = false;
  #retiring = false;
  #ending = false;
  #destroyed = false;
  #closeReason = '';
  #bytesReceived = 0;
  #bytesSent = 0;
  readonly #stalls = new StallWatch(PAYLOAD_PROGRESS_BYTES_MIN);

  constructor(
    { id, socket, peer, client, tls }: Accepted,
    shared: ConnectionShared,
    log: Log,
    onClosed: (connection: Connection) => void,
  ) {
    this.id = id;
    this.#peer = peer;
    this.#shared = shared;
    this.#log = log.child({ connection: id, peer });
    this.#onClosed = onClosed;
    const { limits } = shared;
    this.#shortReceiveBuffer = shared.receiveBuffer.subarray(0, SHORT_RECEIVE_BYTES);
    this.#budget = new InFlightBudget(shared.budget, limits.inFlightBytesPerConnectionMax, () => this.#admitted());
    this.#replies = new ReplyQueue(shared.slabs, (lent) => shared.payloads.give(lent));
    this.#session = new Session({
      exports: shared.exports,
      contexts: shared.contexts,
      client,
      tls,
      limits,
      replies: this.#replies,
      budget: this.#budget,
      payloads: shared.payloads,
      stats: shared.stats,
      turn: this.#turn,
      onNegotiated: (negotiated) => {
        clearTimeout(this.#handshakeTimer);
        const { tls: protocol, names } = this.#session.client;
        const { readOnly } = negotiated.geometry;
        this.#log.info('client attached', { export: negotiated.export.name, readOnly, tls: protocol, client: names });
      },
      onProgress: () => this.#goOnSoon(),
      onReplies: () => this.#flush(),
      log: this.#log,
    });
    this.#handshakeTimer = setTimeout(() => this.destroy('the handshake took too long'), limits.handshakeTimeoutMs);
    this.#transport = readInto(socket, this);
    this.#socket = this.#transport;
    this.#heed(this.#transport);
    this.#transport.on('close', () => this.#onClose());
    this.#flush();
    this.#socket.resume();
  }

  /** The device it is attached to, if any. */
  get device(): BlockDevice | undefined {
    return this.#session.negotiated?.export.device;
  }

  status(): ConnectionStatus {
    return {
      id: this.id,
      peer: this.#peer,
      state: this.#state,
      client: this.#session.client,
      export: this.#session.negotiated?.export.name ?? null,
      readOnly: this.#session.negotiated?.geometry.readOnly ?? null,
      since: this.#since,
      bytesReceived: this.#bytesReceived,
      bytesSent: this.#bytesSent,
      requests: this.#session.requests,
      requestsInFlight: this.#session.inFlight,
      bytesInFlight: this.#budget.usedBytes,
      bytesUnsent: this.#replies.queuedBytes,
    };
  }

  get #state(): ConnectionState {
    if (this.#ending || this.#destroyed) return 'closing';
    if (this.#session.startsTls) return 'tls';
    return this.#session.negotiated === undefined ? 'handshake' : 'attached';
  }

  /** Refuses what comes from now on. */
  shutdown(): void {
    this.#session.shutdown();
  }

  /** Refuses what comes from now on, and closes once all that is under way has been answered. */
  retire(): void {
    this.shutdown();
    this.#retiring = true;
    this.#goOnSoon();
  }

  /** Closes at once. Requests the device has still to answer complete without an answer. */
  destroy(reason: string): void {
    if (this.#destroyed) return;
    this.#destroyed = true;
    this.#closeReason = reason;
    this.#socket.destroy();
    this.#transport.destroy();
  }

  /** Called at intervals of the stall timeout: gives up a peer that is not getting on. */
  checkStall(): void {
    const stalled = this.#stalls.look({
      requests: this.#session.requests,
      bytesReceived: this.#bytesReceived,
      bytesSent: this.#bytesSent,
      midPayload: this.#session.midPayload,
      unsent: this.#replies.queuedBytes > 0,
    });
    if (stalled !== null) this.destroy(stalled);
  }

  nextBuffer(): Buffer {
    const missing = this.#session.missingPayload;
    if (missing >= DIRECT_BYTES_MIN) {
      this.#largePayloads = true;
      this.#room = this.#session.payloadRoom();
      return this.#room;
    }
    this.#room = undefined;
    if (!this.#largePayloads) return this.#shared.receiveBuffer;
    this.#largePayloads = false;
    return this.#shortReceiveBuffer;
  }

  received(buffer: Buffer, length: number): boolean {
    this.#bytesReceived += length;
    if (this.#destroyed) return false;
    // Nothing could be answered any more. It is still read, or the system would cut off the last replies on their way.
    if (this.#ending) return true;
    try {
      if (buffer === this.#room) this.#session.arrived(length);
      else this.#feed(buffer, length, false);
      this.#settle();
    } catch (error) {
      this.#broken(error);
    }
    return this.#reads;
  }

  /** What comes after STARTTLS stays in the kernel, for TLS to read. */
  get #reads(): boolean {
    return this.#parked === undefined && !this.#destroyed && !this.#session.startsTls;
  }

  #feed(bytes: Buffer, length: number, owned: boolean): void {
    this.#sentSince = false;
    const taken = this.#session.feed(bytes, 0, length);
    if (taken === length || this.#session.ended) {
      this.#parked = undefined;
      return;
    }
    const rest = bytes.subarray(taken, length);
    this.#parked = owned ? rest : Buffer.from(rest);
  }

  #admitted(): void {
    try {
      // Also for a connection that is closing: the bytes are the session's now, and it gives them back.
      this.#session.admitted();
    } catch (error) {
      this.#broken(error);
    }
    this.#goOn();
  }

  /** Completions of one turn of the event loop are dealt with together. */
  #goOnSoon(): void {
    if (this.#goesOnSoon || this.#destroyed) return;
    this.#goesOnSoon = true;
    process.nextTick(() => {
      this.#goesOnSoon = false;
      this.#goOn();
    });
  }

  #goOn(): void {
    if (this.#destroyed) return;
    try {
      const parked = this.#parked;
      if (parked !== undefined) {
        this.#feed(parked, parked.length, true);
        if (this.#reads) this.#socket.resume();
      }
      this.#settle();
    } catch (error) {
      this.#broken(error);
    }
  }

  #settle(): void {
    this.#flush();
    if (this.#turn.isOver) this.#awaitTurn();
    else if (this.#sentSince && this.#parked !== undefined) this.#goOnSoon();
    this.#endIfDone();
  }

  #awaitTurn(): void {
    if (this.#awaitsTurn) return;
    this.#awaitsTurn = true;
    this.#shared.turns.wait(this.device, this.#turn, () => {
      this.#awaitsTurn = false;
      this.#goOn();
    });
  }

  /** A mistake of ours, or of what we were given to serve, costs this client its connection and nobody else anything. */
  #broken(error: unknown): void {
    this.#log.error('a connection failed unexpectedly', { error: describeError(error) });
    this.destroy('internal error');
  }

  #flush(): void {
    while (!this.#writing && !this.#destroyed && this.#write()) {
      // On to the next batch.
    }
    if (!this.#destroyed && this.#replies.queuedBytes === 0 && this.#session.startsTls) this.#startTls();
  }

  /** False where there was nothing to write. */
  #write(): boolean {
    const pieces = this.#replies.nextBatch(WRITE_BYTES_MAX);
    const last = pieces.pop();
    if (last === undefined) return false;
    this.#writing = true;
    if (pieces.length === 0) {
      this.#socket.write(last, this.#onWritten);
    } else {
      this.#socket.cork();
      for (const piece of pieces) this.#socket.write(piece);
      this.#socket.write(last, this.#onWritten);
      this.#socket.uncork();
    }
    // Mostly the system takes all of it at once, and then there is nothing to wait for: the callback comes a tick later.
    if (this.#socket.writableLength > 0) return true;
    this.#callbacksDue++;
    this.#sent();
    return true;
  }

  readonly #onWritten = (error?: Error | null): void => {
    if (this.#callbacksDue > 0) {
      this.#callbacksDue--;
      return;
    }
    // A failed write is followed by the socket's error event, which closes the connection.
    if (this.#destroyed || error) return;
    this.#sent();
    this.#goOn();
  };

  #sent(): void {
    this.#writing = false;
    this.#sentSince = true;
    const unsentBefore = this.#replies.queuedBytes;
    const heldBytes = this.#replies.written();
    this.#bytesSent += unsentBefore - this.#replies.queuedBytes;
    if (heldBytes > 0) this.#budget.give(heldBytes);
  }

  /** The reply to STARTTLS has been sent, and nothing else is under way in either direction. */
  #startTls(): void {
    const { tls } = this.#shared;
    // A handshake is work too: those of many who come at once leave room for others.
    if (this.#securing || this.#turn.isOver) return;
    if (tls === null) throw new Error('TLS was offered, and there is none');
    this.#securing = true;
    tls.accept(this.#transport, {
      secured: (peer) => this.#secured(peer),
      failed: (error) => this.destroy(error.message),
    });
  }

  #secured({ socket, protocol, names }: SecuredPeer): void {
    if (this.#destroyed) return;
    this.#securing = false;
    // By the way it has come it still is who it was.
    this.#session.secured({ tls: protocol, names: [...names, ...this.#session.client.names] });
    this.#socket = readByEvents(socket, this);
    this.#heed(socket);
    this.#log.debug('the connection is encrypted', { tls: protocol, client: names });
    socket.resume();
    this.#endIfDone();
  }

  #heed(socket: Socket): void {
    socket.on('end', () => this.#onEnd());
    socket.on('error', (error) => {
      this.#log.debug('the connection broke', { error: describeError(error) });
      this.destroy('');
    });
  }

  #onEnd(): void {
    this.#inputEnded = true;
    this.#endIfDone();
  }

  /** Ends our side once nothing is left to answer or to send. */
  #endIfDone(): void {
    const session = this.#session;
    if (!(session.ended || this.#inputEnded || this.#retiring) || this.#ending || this.#destroyed) return;
    // A payload that will never be complete is not waited for.
    const settled = session.idle || (this.#inputEnded && session.midPayload && session.inFlight === 0);
    if (!settled || this.#parked !== undefined || this.#replies.queuedBytes > 0) return;
    this.#ending = true;
    this.#closeReason = session.endReason;
    // In the midst of its handshake TLS has nothing to say goodbye with.
    if (this.#securing) this.destroy(this.#closeReason);
    else this.#socket.end();
    this.#lingerTimer = setTimeout(() => this.destroy(this.#closeReason), LINGER_MS);
  }

  #onClose(): void {
    this.#destroyed = true;
    this.#shared.tls?.forget(this.#transport);
    clearTimeout(this.#handshakeTimer);
    clearTimeout(this.#lingerTimer);
    this.#parked = undefined;
    this.#budget.close();
    this.#session.abandon();
    const heldBytes = this.#replies.discard();
    if (heldBytes > 0) this.#budget.give(heldBytes);
    this.#logClosed();
    this.#onClosed(this);
  }

  #logClosed(): void {
    const { export: name, requests, bytesReceived, bytesSent } = this.status();
    const fields = { export: name, requests, bytesReceived, bytesSent };
    if (this.#closeReason !== '') this.#log.warn('client disconnected', { ...fields, reason: this.#closeReason });
    else if (name !== null) this.#log.info('client detached', fields);
    else this.#log.debug('client left without choosing an export', fields);
  }
}
