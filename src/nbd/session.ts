/** One connection's conversation, without a socket: the handshake, then the transmission phase. */
import type { Log } from '../lib/log.ts';
import { type ClientIdentity, type ExportTable, NOBODY } from './exports.ts';
import { Handshake, type HandshakeOptions, type HandshakeTls, type Negotiated } from './handshake.ts';
import type { InFlightBudget } from './in-flight-budget.ts';
import type { NbdLimits } from './limits.ts';
import { META_CONTEXTS, type MetaContext } from './meta-context.ts';
import type { PayloadPool } from './payload-pool.ts';
import type { ReplyQueue } from './reply-queue.ts';
import { RequestStats, type RequestStatsTable } from './request-stats.ts';
import { Transmission } from './transmission.ts';
import type { Turn } from './turns.ts';

export interface SessionOptions {
  readonly exports: ExportTable;
  /** What BLOCK_STATUS can tell; `base:allocation` where left out. */
  readonly contexts?: readonly MetaContext[];
  /** Who the client is before TLS says more; nobody where left out. */
  readonly client?: ClientIdentity;
  /** Whether the client may, or must, have the connection encrypted first. It may not where left out. */
  readonly tls?: Exclude<HandshakeTls, 'on'>;
  readonly limits: Pick<NbdLimits, 'inFlightRequestsMax' | 'unsentBytesMax'>;
  readonly replies: ReplyQueue;
  readonly budget: InFlightBudget;
  readonly payloads: PayloadPool;
  /** While it is over, no option and no request is taken. */
  readonly turn: Turn;
  /** Where requests are counted; nowhere that anybody sees where left out. */
  readonly stats?: RequestStatsTable;
  /** Called once, when the client has chosen an export. */
  readonly onNegotiated: (negotiated: Negotiated) => void;
  /** Called when a request completes outside `feed`: there may be replies to send, and input may be taken again. */
  readonly onProgress: () => void;
  /** Called in the midst of `feed` when there are replies enough to send already. */
  readonly onReplies?: () => void;
  readonly log: Log;
}

/** Replies appear in the queue it was given; the caller sends them and feeds it what the client sends. */
export class Session {
  readonly #options: SessionOptions;
  #client: ClientIdentity;
  #handshake: Handshake;
  #transmission: Transmission | undefined;
  #shutdown = false;

  constructor(options: SessionOptions) {
    this.#options = options;
    this.#client = options.client ?? NOBODY;
    this.#handshake = this.#startHandshake({ tls: options.tls ?? 'off' });
  }

  /** Who the client is, as far as it has shown. */
  get client(): ClientIdentity {
    return this.#client;
  }

  get negotiated(): Negotiated | undefined {
    return this.#handshake.negotiated;
  }

  /** True once STARTTLS has been acknowledged: when the reply has been sent, TLS begins, and then comes `secured`. */
  get startsTls(): boolean {
    return this.#handshake.startsTls;
  }

  /** The connection is encrypted from here on, and this is its other end. Nothing that was agreed before holds any more. */
  secured(client: ClientIdentity): void {
    if (!this.startsTls) throw new Error('TLS that nobody asked for');
    this.#client = client;
    this.#handshake = this.#startHandshake({ tls: 'on', greeted: this.#handshake.clientFlags });
    if (this.#shutdown) this.#handshake.shutdown();
  }

  get requests(): number {
    return this.#transmission?.requests ?? 0;
  }

  /** Requests the device has not answered. */
  get inFlight(): number {
    return this.#transmission?.inFlight ?? 0;
  }

  /** True where everything that came has been answered into the queue. */
  get idle(): boolean {
    return this.#transmission?.idle ?? true;
  }

  get midPayload(): boolean {
    return this.#transmission?.midPayload ?? false;
  }

  /** True once nothing more is read: to be closed after what is under way has been answered. */
  get ended(): boolean {
    return this.#transmission?.ended ?? this.#handshake.ended;
  }

  /** Why it ended, where the client did not simply say so. */
  get endReason(): string {
    return this.#transmission?.endReason ?? this.#handshake.endReason;
  }

  /**
   * Takes bytes from `start` to `end` and returns how far it came: less than `end` where a limit is reached (feed the rest
   * after progress) or where it has ended.
   */
  feed(bytes: Buffer, start: number, end: number): number {
    if (this.#transmission !== undefined) return this.#transmission.feed(bytes, start, end);
    const at = this.#handshake.feed(bytes, start, end);
    const { negotiated } = this.#handshake;
    if (negotiated === undefined) return at;
    this.#transmission = this.#startTransmission(negotiated);
    this.#options.onNegotiated(negotiated);
    return this.#transmission.feed(bytes, at, end);
  }

  /** Payload bytes of a write that are still to come: they may be put straight into `payloadRoom`. */
  get missingPayload(): number {
    return this.#transmission?.missingPayload ?? 0;
  }

  /** Only where `missingPayload` is not 0. */
  payloadRoom(): Buffer {
    return this.#inTransmission().payloadRoom();
  }

  /** `bytes` have been put into `payloadRoom`. */
  arrived(bytes: number): void {
    this.#inTransmission().arrived(bytes);
  }

  /** The request that waited for the in-flight budget has it. Feed what is left. */
  admitted(): void {
    this.#inTransmission().admitted();
  }

  /** Further options and requests are refused; those under way complete. */
  shutdown(): void {
    this.#shutdown = true;
    this.#handshake.shutdown();
    this.#transmission?.shutdown();
  }

  /** The client is gone. */
  abandon(): void {
    this.#transmission?.abandon();
  }

  #startHandshake(phase: Pick<HandshakeOptions, 'tls' | 'greeted'>): Handshake {
    const { exports, contexts = META_CONTEXTS, replies, limits, turn } = this.#options;
    const { unsentBytesMax } = limits;
    return new Handshake({ exports, contexts, client: this.#client, replies, unsentBytesMax, turn, ...phase });
  }

  #startTransmission(negotiated: Negotiated): Transmission {
    const { replies, budget, payloads, turn, stats, limits, onProgress, onReplies = () => {}, log } = this.#options;
    budget.join(negotiated.export.device);
    const transmission = new Transmission({
      negotiated,
      replies,
      budget,
      payloads,
      turn,
      stats: stats?.of(negotiated.export.name) ?? new RequestStats(),
      inFlightRequestsMax: limits.inFlightRequestsMax,
      unsentBytesMax: limits.unsentBytesMax,
      onProgress,
      onReplies,
      log: log.child({ export: negotiated.export.name }),
    });
    if (this.#shutdown) transmission.shutdown();
    return transmission;
  }

  #inTransmission(): Transmission {
    if (this.#transmission === undefined) throw new Error('not in the transmission phase');
    return this.#transmission;
  }
}
