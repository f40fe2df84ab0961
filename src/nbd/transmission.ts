/**
 * The transmission phase, without a socket: fed bytes, it takes requests apart, refuses the bad ones, holds the others until
 * there is room for them, and has them run. Requests run concurrently and are answered as they complete.
 */
import { Command, PAYLOAD_BYTES_MAX } from './constants.ts';
import type { MetaContext } from './meta-context.ts';
import { type Refusal, readQuery, refusalOf } from './request-check.ts';
import { budgetBytes, RequestRunner, type RequestRunnerOptions } from './request-runner.ts';
import { REQUEST_COST, type Turn } from './turns.ts';
import {
  decodeExtendedRequest,
  decodeRequest,
  EXTENDED_REQUEST_HEADER_BYTES,
  REQUEST_HEADER_BYTES,
  RequestHeader,
} from './wire.ts';

export interface TransmissionOptions extends RequestRunnerOptions {
  readonly inFlightRequestsMax: number;
  /** No request is taken while this much output is unsent. */
  readonly unsentBytesMax: number;
  /** What requests cost is charged to it, and while it is over no request is taken. */
  readonly turn: Turn;
  /** Called while requests are being taken, when there are replies enough to send already. */
  readonly onReplies: () => void;
}

/**
 * So many bytes of replies are sent before further requests are looked at: the client gets to work on them while we are
 * still at the rest, and does not wait for all of what it sent in one go.
 */
const EAGER_REPLY_BYTES = 32 * 1024;

/**
 * While large reads are at hand, none is taken while this much output is unsent. So they take turns with one buffer, which stays in the
 * processor's cache: with 1 MiB a hit of 1 MiB took 1.5 times the CPU time. What is not at hand is asked for earlier: the time that
 * the device takes for it would be added to that of a slow client.
 */
const UNSENT_AT_HAND_BYTES_MAX = 256 * 1024;

/** The payload of a refused request is read to its end up to this length, to stay in step with the client. */
const SKIPPED_PAYLOAD_BYTES_MAX = 2 * PAYLOAD_BYTES_MAX;

const NO_PAYLOAD: Buffer = Buffer.alloc(0);

/** `admission`: the request waits for the in-flight budget. `query`: the payload of a block status, which is short. */
type State = 'header' | 'admission' | 'payload' | 'query' | 'skipped-payload' | 'ended';

export class Transmission {
  readonly #options: TransmissionOptions;
  readonly #runner: RequestRunner;

  #state: State = 'header';
  readonly #extended: boolean;
  readonly #headerBytes: number;
  /** A header that arrives in pieces is put together here. */
  readonly #partial: Buffer;
  #partialBytes = 0;
  /** The request being taken. */
  readonly #request = new RequestHeader();
  #refusal: Refusal | undefined;
  /** What a BLOCK_STATUS being taken is about. */
  #contexts: readonly MetaContext[];
  #payload = NO_PAYLOAD;
  #payloadBytes = 0;
  #skipBytes = 0;

  #requests = 0;
  #shutdown = false;
  #endReason = '';

  constructor(options: TransmissionOptions) {
    this.#options = options;
    this.#runner = new RequestRunner(options);
    this.#extended = options.negotiated.framing === 'extended';
    this.#headerBytes = this.#extended ? EXTENDED_REQUEST_HEADER_BYTES : REQUEST_HEADER_BYTES;
    this.#partial = Buffer.alloc(this.#headerBytes);
    this.#contexts = options.negotiated.contexts;
  }

  /** Requests received, whatever became of them. */
  get requests(): number {
    return this.#requests;
  }

  /** Requests the device has not answered. */
  get inFlight(): number {
    return this.#runner.inFlight;
  }

  /** True where the client owes us the rest of a payload. */
  get midPayload(): boolean {
    return this.#state === 'payload' || this.#state === 'query' || this.#state === 'skipped-payload';
  }

  /** True where every request that came has been answered into the queue. */
  get idle(): boolean {
    return this.inFlight === 0 && (this.#state === 'header' || this.#state === 'ended');
  }

  /** True once nothing more is read: the connection is to be closed after what is under way has been answered. */
  get ended(): boolean {
    return this.#state === 'ended';
  }

  /** Why it ended, where the client did not say so. */
  get endReason(): string {
    return this.#endReason;
  }

  /** Every request from here on is answered with ESHUTDOWN. */
  shutdown(): void {
    this.#shutdown = true;
    this.#runner.shutdown();
  }

  /** The client is gone: nothing is answered any more. What the device holds is given back as it completes. */
  abandon(): void {
    if (this.#state === 'payload') {
      this.#options.budget.give(this.#payload.length);
      this.#options.payloads.give(this.#payload);
    }
    this.#payload = NO_PAYLOAD;
    this.#state = 'ended';
    this.#runner.abandon();
  }

  /** The request that waited for the budget has its bytes now; feed what is left. */
  admitted(): void {
    if (this.#request.type === Command.WRITE) {
      this.#state = 'payload';
      this.#payload = this.#options.payloads.take(this.#request.length);
      this.#payloadBytes = 0;
    } else {
      this.#state = 'header';
      this.#runner.run(this.#request, this.#contexts);
    }
  }

  /** Payload bytes of a write that are still to come: they may be put straight into `payloadRoom`. */
  get missingPayload(): number {
    return this.#state === 'payload' ? this.#payload.length - this.#payloadBytes : 0;
  }

  /** Only where `missingPayload` is not 0. */
  payloadRoom(): Buffer {
    return this.#payload.subarray(this.#payloadBytes);
  }

  /** `bytes` more of the payload have been put where `payloadRoom` said. */
  arrived(bytes: number): void {
    // Otherwise a request that has been run would be run again, and answered twice.
    if (bytes > this.#payload.length - this.#payloadBytes)
      throw new Error('more has arrived than a payload had room for');
    this.#payloadBytes += bytes;
    if (this.#payloadBytes < this.#payload.length) return;
    const data = this.#payload;
    this.#payload = NO_PAYLOAD;
    if (this.#state === 'query') {
      this.#query(data);
      return;
    }
    this.#state = 'header';
    this.#runner.write(this.#request, data);
  }

  /**
   * Takes bytes from `start` to `end` and returns how far it came: less than `end` where a limit is reached (feed the rest
   * after progress) or where it has ended.
   */
  feed(bytes: Buffer, start: number, end: number): number {
    let at = start;
    while (at < end) {
      if (this.#state === 'header') {
        if (this.#blocked()) break;
        at += this.#takeHeader(bytes, at, end);
        if (this.#options.replies.waitingBytes >= EAGER_REPLY_BYTES) this.#options.onReplies();
      } else if (this.#state === 'payload' || this.#state === 'query') {
        const taken = Math.min(this.#payload.length - this.#payloadBytes, end - at);
        bytes.copy(this.#payload, this.#payloadBytes, at, at + taken);
        at += taken;
        this.arrived(taken);
      } else if (this.#state === 'skipped-payload') {
        const taken = Math.min(this.#skipBytes, end - at);
        at += taken;
        this.#skipBytes -= taken;
        if (this.#skipBytes === 0) this.#refuse();
      } else break;
    }
    return at;
  }

  #blocked(): boolean {
    const { inFlightRequestsMax, unsentBytesMax, replies, budget, turn } = this.#options;
    const { inFlight } = this;
    const unsentMax = this.#runner.readsAtHand ? Math.min(UNSENT_AT_HAND_BYTES_MAX, unsentBytesMax) : unsentBytesMax;
    return inFlight >= inFlightRequestsMax || replies.queuedBytes > unsentMax || turn.isOver || !budget.hasSlot;
  }

  /** Returns the bytes it took. */
  #takeHeader(bytes: Buffer, at: number, end: number): number {
    const headerBytes = this.#headerBytes;
    if (this.#partialBytes === 0 && end - at >= headerBytes) {
      this.#begin(bytes, at);
      return headerBytes;
    }
    const taken = Math.min(headerBytes - this.#partialBytes, end - at);
    bytes.copy(this.#partial, this.#partialBytes, at, at + taken);
    this.#partialBytes += taken;
    if (this.#partialBytes === headerBytes) {
      this.#partialBytes = 0;
      this.#begin(this.#partial, 0);
    }
    return taken;
  }

  #begin(header: Buffer, at: number): void {
    const request = this.#request;
    const decode = this.#extended ? decodeExtendedRequest : decodeRequest;
    if (!decode(header, at, request)) {
      this.#end('bad request magic');
      return;
    }
    this.#requests++;
    this.#options.turn.spend(REQUEST_COST);
    const { type, payloadBytes } = request;
    const { negotiated } = this.#options;
    this.#refusal = refusalOf(request, negotiated, this.#shutdown);
    if (this.#refusal !== undefined) {
      if (payloadBytes === 0) this.#refuse();
      else if (payloadBytes <= SKIPPED_PAYLOAD_BYTES_MAX) this.#skip(payloadBytes);
      else this.#end(`a payload of ${payloadBytes} bytes`);
    } else if (type === Command.DISC) {
      this.#end('');
    } else if (type === Command.BLOCK_STATUS && payloadBytes > 0) {
      this.#state = 'query';
      this.#payload = Buffer.allocUnsafe(payloadBytes);
      this.#payloadBytes = 0;
    } else {
      this.#contexts = negotiated.contexts;
      this.#admit(budgetBytes(request));
    }
  }

  #query(payload: Buffer): void {
    this.#state = 'header';
    const read = readQuery(payload, this.#request, this.#options.negotiated);
    if ('errno' in read) {
      this.#refusal = read;
      this.#refuse();
      return;
    }
    this.#contexts = read;
    this.#admit(budgetBytes(this.#request));
  }

  #admit(bytes: number): void {
    this.#options.turn.spend(bytes);
    if (bytes === 0) this.#runner.run(this.#request, this.#contexts);
    else if (this.#options.budget.take(bytes)) this.admitted();
    else this.#state = 'admission';
  }

  #skip(bytes: number): void {
    this.#state = 'skipped-payload';
    this.#skipBytes = bytes;
  }

  #refuse(): void {
    this.#state = 'header';
    if (this.#refusal !== undefined) this.#runner.refuse(this.#request, this.#refusal.errno, this.#refusal.text);
  }

  #end(reason: string): void {
    this.#endReason = reason;
    this.#state = 'ended';
  }
}
