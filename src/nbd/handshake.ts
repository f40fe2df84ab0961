/** The handshake phase, without a socket: fed bytes, it answers options until the client has chosen an export or left. */
import type { BlockDevice, Geometry } from '../volume/block-device.ts';
import {
  HandshakeFlag,
  Info,
  Option,
  OptionReply,
  PAYLOAD_BYTES_MAX,
  STRING_BYTES_MAX,
  TransmissionFlag,
} from './constants.ts';
import type { ClientIdentity, ExportTable, NbdExport } from './exports.ts';
import { type MetaContext, matchContexts } from './meta-context.ts';
import {
  CLIENT_FLAGS_BYTES,
  decodeInfoRequest,
  decodeMetaContextRequest,
  decodeOptionHeader,
  encodeExportNameReply,
  encodeGreeting,
  encodeInfoBlockSize,
  encodeInfoExport,
  encodeInfoText,
  encodeMetaContext,
  encodeOptionReply,
  encodeServerData,
  OPTION_HEADER_BYTES,
} from './option-wire.ts';
import type { ReplyQueue } from './reply-queue.ts';
import { REQUEST_COST, TURN_COST, type Turn } from './turns.ts';
import type { Framing } from './wire.ts';

/** What the transmission phase goes by. Taken when the client chose the export: a later resize is for new connections. */
export interface Negotiated {
  readonly export: NbdExport;
  readonly geometry: Geometry;
  readonly framing: Framing;
  readonly contexts: readonly MetaContext[];
}

/** `off`: not to be had. `offered`: a client may ask for it. `required`: nothing else is answered before it. `on`: it is in use. */
export type HandshakeTls = 'off' | 'offered' | 'required' | 'on';

export interface HandshakeOptions {
  readonly exports: ExportTable;
  readonly contexts: readonly MetaContext[];
  readonly client: ClientIdentity;
  readonly tls: HandshakeTls;
  /** What the client answered to the greeting on this connection; undefined where it has still to be greeted. */
  readonly greeted?: ClientFlags;
  readonly replies: ReplyQueue;
  /** No option is answered while this much output is unsent. */
  readonly unsentBytesMax: number;
  /** What options cost is charged to it, and while it is over none is taken. */
  readonly turn: Turn;
}

/** The client's flags, which are sent once for a connection, before TLS. */
export interface ClientFlags {
  readonly noZeroes: boolean;
}

/** Option data is taken whole up to here, and skipped beyond; the longest we know have a name and a few queries. */
const OPTION_BYTES_KEPT_MAX = 64 * 1024;
/** An option longer than this is not worth reading to its end. */
const OPTION_BYTES_MAX = 32 * 1024 * 1024;
/** Of all options of a connection. */
const HANDSHAKE_BYTES_MAX = 64 * 1024 * 1024;

const TLS_NEEDED = 'this server wants TLS first';

type State = 'client-flags' | 'option-header' | 'option-data' | 'skipped-data' | 'starttls' | 'ended';

/**
 * After STARTTLS a connection gets another handshake, and this one is thrown away: so nothing that was agreed before, which
 * anybody on the way may have changed, is believed after.
 */
export class Handshake {
  readonly #exports: ExportTable;
  readonly #contexts: readonly MetaContext[];
  readonly #client: ClientIdentity;
  readonly #tls: HandshakeTls;
  readonly #replies: ReplyQueue;
  readonly #unsentBytesMax: number;
  readonly #turn: Turn;

  #state: State = 'client-flags';
  /** The message being put together. */
  #message = Buffer.allocUnsafe(CLIENT_FLAGS_BYTES);
  #messageBytes = 0;
  #option = 0;
  #skipBytes = 0;
  #totalBytes = 0;

  #noZeroes = false;
  #framing: Framing = 'simple';
  #selectedContexts: readonly MetaContext[] = [];
  #selectedFor: BlockDevice | undefined;
  #shutdown = false;
  #negotiated: Negotiated | undefined;
  #endReason = '';

  constructor(options: HandshakeOptions) {
    this.#exports = options.exports;
    this.#contexts = options.contexts;
    this.#client = options.client;
    this.#tls = options.tls;
    this.#replies = options.replies;
    this.#unsentBytesMax = options.unsentBytesMax;
    this.#turn = options.turn;
    if (options.greeted === undefined) {
      this.#replies.append(encodeGreeting());
    } else {
      this.#noZeroes = options.greeted.noZeroes;
      this.#expect('option-header', OPTION_HEADER_BYTES);
    }
  }

  /** Set once the client has chosen an export: what follows is the transmission phase. */
  get negotiated(): Negotiated | undefined {
    return this.#negotiated;
  }

  /** True once STARTTLS has been acknowledged: what comes after the reply is TLS, and nothing of it is for this handshake. */
  get startsTls(): boolean {
    return this.#state === 'starttls';
  }

  get clientFlags(): ClientFlags {
    return { noZeroes: this.#noZeroes };
  }

  /** True once nothing more is read: the connection is to be closed after what was answered. */
  get ended(): boolean {
    return this.#state === 'ended' && this.#negotiated === undefined;
  }

  /** Why it ended, where the client did not say so. */
  get endReason(): string {
    return this.#endReason;
  }

  /** Every further option is answered with ERR_SHUTDOWN. */
  shutdown(): void {
    this.#shutdown = true;
  }

  /**
   * Takes bytes from `start` to `end` and returns how far it came: less than `end` where too much output is unsent (feed
   * the rest later), where the export has been chosen (the rest is requests), or where the handshake has ended.
   */
  feed(bytes: Buffer, start: number, end: number): number {
    let at = start;
    while (at < end && this.#state !== 'ended') {
      if (this.#state === 'starttls') break;
      if (this.#state === 'skipped-data') {
        const skipped = Math.min(this.#skipBytes, end - at);
        at += skipped;
        this.#skipBytes -= skipped;
        if (this.#skipBytes === 0) this.#skippedData();
        continue;
      }
      if (this.#state === 'option-header' && this.#blocked()) break;
      const taken = Math.min(this.#message.length - this.#messageBytes, end - at);
      bytes.copy(this.#message, this.#messageBytes, at, at + taken);
      this.#messageBytes += taken;
      at += taken;
      if (this.#messageBytes === this.#message.length) this.#messageComplete();
    }
    if (this.#state === 'starttls') this.#startTls(at < end);
    return at;
  }

  #blocked(): boolean {
    return this.#replies.queuedBytes > this.#unsentBytesMax || this.#turn.isOver;
  }

  /** A client waits for our reply before it sends more. What has come by now is not from it, or it is in disorder. */
  #startTls(moreCame: boolean): void {
    if (moreCame) this.#end('something came between STARTTLS and the TLS handshake');
    else this.#reply(OptionReply.ACK);
  }

  #messageComplete(): void {
    const message = this.#message;
    if (this.#state === 'client-flags') this.#clientFlags(message.readUInt32BE(0));
    else if (this.#state === 'option-header') this.#optionHeader(message);
    else this.#optionData(message);
  }

  #expect(state: State, bytes: number): void {
    this.#state = state;
    this.#message = Buffer.allocUnsafe(bytes);
    this.#messageBytes = 0;
  }

  #clientFlags(flags: number): void {
    if ((flags & ~(HandshakeFlag.FIXED_NEWSTYLE | HandshakeFlag.NO_ZEROES)) !== 0) {
      this.#end(`unknown client flags 0x${flags.toString(16)}`);
      return;
    }
    this.#noZeroes = (flags & HandshakeFlag.NO_ZEROES) !== 0;
    this.#expect('option-header', OPTION_HEADER_BYTES);
  }

  #optionHeader(message: Buffer): void {
    const header = decodeOptionHeader(message, 0);
    if (header === undefined) {
      this.#end('bad option magic');
      return;
    }
    const { option, length } = header;
    this.#option = option;
    this.#turn.spend(REQUEST_COST);
    this.#totalBytes += OPTION_HEADER_BYTES + length;
    if (length > OPTION_BYTES_MAX || this.#totalBytes > HANDSHAKE_BYTES_MAX) {
      this.#end(`option ${option} with ${length} bytes of data`);
    } else if (length > 0 && (length > OPTION_BYTES_KEPT_MAX || !isKnown(option))) {
      this.#state = 'skipped-data';
      this.#skipBytes = length;
    } else if (length > 0) {
      this.#expect('option-data', length);
    } else {
      this.#optionData(message.subarray(0, 0));
    }
  }

  #skippedData(): void {
    this.#expect('option-header', OPTION_HEADER_BYTES);
    if (this.#option === Option.EXPORT_NAME) this.#end('an export name that is too long');
    else if (this.#option === Option.ABORT) this.#abort();
    else if (this.#shutdown) this.#reply(OptionReply.ERR_SHUTDOWN);
    else if (this.#needsTls()) this.#reply(OptionReply.ERR_TLS_REQD, TLS_NEEDED);
    else if (isKnown(this.#option)) this.#reply(OptionReply.ERR_TOO_BIG);
    else this.#reply(OptionReply.ERR_UNSUP);
  }

  #optionData(data: Buffer): void {
    this.#expect('option-header', OPTION_HEADER_BYTES);
    if (this.#option === Option.ABORT) {
      this.#abort();
      return;
    }
    if (this.#shutdown) {
      if (this.#option === Option.EXPORT_NAME) this.#end('shutting down');
      else this.#reply(OptionReply.ERR_SHUTDOWN);
      return;
    }
    if (this.#needsTls()) {
      if (this.#option === Option.EXPORT_NAME) this.#end('an export was asked for without TLS');
      else this.#reply(OptionReply.ERR_TLS_REQD, TLS_NEEDED);
      return;
    }
    switch (this.#option) {
      case Option.EXPORT_NAME:
        this.#exportName(data);
        break;
      case Option.LIST:
        this.#list(data);
        break;
      case Option.STARTTLS:
        this.#startTlsAsked(data);
        break;
      case Option.INFO:
      case Option.GO:
        this.#info(data);
        break;
      case Option.STRUCTURED_REPLY:
        this.#structuredReply(data);
        break;
      case Option.EXTENDED_HEADERS:
        this.#extendedHeaders(data);
        break;
      case Option.LIST_META_CONTEXT:
      case Option.SET_META_CONTEXT:
        this.#metaContext(data);
        break;
      default:
        this.#reply(OptionReply.ERR_UNSUP);
    }
  }

  #needsTls(): boolean {
    return this.#tls === 'required' && this.#option !== Option.STARTTLS;
  }

  #startTlsAsked(data: Buffer): void {
    if (this.#tls === 'off') this.#reply(OptionReply.ERR_POLICY, 'this server does not offer TLS');
    else if (this.#tls === 'on') this.#reply(OptionReply.ERR_INVALID, 'TLS is in use already');
    else if (data.length > 0) this.#reply(OptionReply.ERR_INVALID, 'STARTTLS takes no data');
    else {
      this.#state = 'starttls';
      this.#turn.spend(TURN_COST);
    }
  }

  #abort(): void {
    this.#reply(OptionReply.ACK);
    this.#end('');
  }

  #exportName(data: Buffer): void {
    if (this.#framing === 'extended') {
      this.#end('EXPORT_NAME after extended headers');
      return;
    }
    const found = data.length > STRING_BYTES_MAX ? undefined : this.#find(data.toString('utf8'));
    if (found === undefined) {
      this.#end('an unknown export was asked for');
      return;
    }
    const closed = found.closed ?? null;
    if (closed !== null) {
      this.#end(closed);
      return;
    }
    const geometry = geometryOf(found);
    const flags = this.#transmissionFlags(found.device, geometry);
    this.#replies.append(encodeExportNameReply(geometry.sizeBytes, flags, !this.#noZeroes));
    this.#choose(found, geometry);
  }

  #list(data: Buffer): void {
    if (data.length > 0) {
      this.#reply(OptionReply.ERR_INVALID, 'LIST takes no data');
      return;
    }
    for (const { name, description } of this.#exports.list(this.#client)) {
      this.#reply(OptionReply.SERVER, encodeServerData(name, description));
    }
    this.#reply(OptionReply.ACK);
  }

  #info(data: Buffer): void {
    const request = decodeInfoRequest(data);
    if (request === undefined) {
      this.#reply(OptionReply.ERR_INVALID, 'malformed request');
      return;
    }
    const found = this.#find(request.name);
    if (found === undefined) {
      this.#reply(OptionReply.ERR_UNKNOWN, 'no such export');
      return;
    }
    const closed = found.closed ?? null;
    if (this.#option === Option.GO && closed !== null) {
      // Of the errors there are, the one whose text clients pass on.
      this.#reply(OptionReply.ERR_POLICY, closed);
      return;
    }
    const geometry = geometryOf(found);
    const flags = this.#transmissionFlags(found.device, geometry);
    this.#reply(OptionReply.INFO, encodeInfoExport(geometry.sizeBytes, flags));
    if (request.infos.includes(Info.NAME)) this.#reply(OptionReply.INFO, encodeInfoText(Info.NAME, found.name));
    if (request.infos.includes(Info.DESCRIPTION) && found.description !== '') {
      this.#reply(OptionReply.INFO, encodeInfoText(Info.DESCRIPTION, found.description));
    }
    if (request.infos.includes(Info.BLOCK_SIZE)) {
      const blockSizeMaxBytes = Math.min(geometry.blockSizeMaxBytes, PAYLOAD_BYTES_MAX);
      this.#reply(OptionReply.INFO, encodeInfoBlockSize({ ...geometry, blockSizeMaxBytes }));
    }
    this.#reply(OptionReply.ACK);
    if (this.#option === Option.GO) this.#choose(found, geometry);
  }

  #structuredReply(data: Buffer): void {
    if (data.length > 0) this.#reply(OptionReply.ERR_INVALID, 'STRUCTURED_REPLY takes no data');
    else if (this.#framing === 'extended') {
      this.#reply(OptionReply.ERR_EXT_HEADER_REQD, 'extended headers are already negotiated');
    } else if (this.#framing === 'structured') {
      this.#reply(OptionReply.ERR_INVALID, 'structured replies are already negotiated');
    } else {
      this.#framing = 'structured';
      this.#reply(OptionReply.ACK);
    }
  }

  /** May follow structured replies, which they replace; contexts that were selected stay selected. */
  #extendedHeaders(data: Buffer): void {
    if (data.length > 0) this.#reply(OptionReply.ERR_INVALID, 'EXTENDED_HEADERS takes no data');
    else if (this.#framing === 'extended') {
      this.#reply(OptionReply.ERR_INVALID, 'extended headers are already negotiated');
    } else {
      this.#framing = 'extended';
      this.#reply(OptionReply.ACK);
    }
  }

  #metaContext(data: Buffer): void {
    const selecting = this.#option === Option.SET_META_CONTEXT;
    // A selection that fails leaves nothing of an earlier one.
    if (selecting) this.#selectedContexts = [];
    if (this.#framing === 'simple') {
      this.#reply(OptionReply.ERR_INVALID, 'negotiate structured replies or extended headers first');
      return;
    }
    const request = decodeMetaContextRequest(data);
    if (request === undefined) {
      this.#reply(OptionReply.ERR_INVALID, 'malformed request');
      return;
    }
    const found = this.#find(request.name);
    if (found === undefined) {
      this.#reply(OptionReply.ERR_UNKNOWN, 'no such export');
      return;
    }
    const matched = matchContexts(this.#contexts, request.queries, selecting ? 'select' : 'list');
    if (selecting) {
      this.#selectedContexts = matched;
      this.#selectedFor = found.device;
    }
    for (const { id, name } of matched) {
      this.#reply(OptionReply.META_CONTEXT, encodeMetaContext(selecting ? id : 0, name));
    }
    this.#reply(OptionReply.ACK);
  }

  #find(name: string): NbdExport | undefined {
    return this.#exports.find(name, this.#client);
  }

  #choose(chosen: NbdExport, geometry: Geometry): void {
    this.#negotiated = {
      export: chosen,
      geometry: { ...geometry },
      framing: this.#framing,
      contexts: this.#contextsFor(chosen.device),
    };
    this.#state = 'ended';
  }

  #contextsFor(device: BlockDevice): readonly MetaContext[] {
    return this.#selectedFor === device ? this.#selectedContexts : [];
  }

  #transmissionFlags(device: BlockDevice, geometry: Geometry): number {
    // There is nothing to choose from where no context is selected; who only asks may select one yet.
    const choosesContexts = this.#option === Option.INFO || this.#contextsFor(device).length > 0;
    return (
      TransmissionFlag.HAS_FLAGS |
      TransmissionFlag.SEND_FLUSH |
      TransmissionFlag.SEND_FUA |
      TransmissionFlag.SEND_TRIM |
      TransmissionFlag.SEND_WRITE_ZEROES |
      TransmissionFlag.CAN_MULTI_CONN |
      TransmissionFlag.SEND_CACHE |
      TransmissionFlag.SEND_FAST_ZERO |
      (geometry.readOnly ? TransmissionFlag.READ_ONLY : 0) |
      (this.#framing === 'simple' ? 0 : TransmissionFlag.SEND_DF) |
      (this.#framing === 'extended' && choosesContexts ? TransmissionFlag.BLOCK_STATUS_PAYLOAD : 0)
    );
  }

  #end(reason: string): void {
    this.#endReason = reason;
    this.#state = 'ended';
  }

  #reply(type: number, data: Buffer | string = ''): void {
    this.#replies.append(encodeOptionReply(this.#option, type, data));
  }
}

function geometryOf({ device, readOnly }: NbdExport): Geometry {
  return readOnly === true ? { ...device.geometry, readOnly } : device.geometry;
}

const KNOWN_OPTIONS: ReadonlySet<number> = new Set(Object.values(Option));

function isKnown(option: number): boolean {
  return KNOWN_OPTIONS.has(option);
}
