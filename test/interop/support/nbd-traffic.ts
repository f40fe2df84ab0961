/** What NBD clients make use of, told from the bytes they sent. The numbers are the protocol's own. */
import { connect, createServer, type Socket } from 'node:net';
import type { ServerAddress } from '../../../src/nbd/listen.ts';
import { type Lifetime, onEnd } from '../../support/cleanup.ts';

const OPTION_MAGIC = Buffer.from('IHAVEOPT');
const OPTION = { exportName: 1, structured: 8, setContexts: 10, extended: 11 } as const;
const COMMAND = { read: 0, write: 1, flush: 3, trim: 4, cache: 5, writeZeroes: 6, blockStatus: 7 } as const;
const FLAG = { fua: 1, dontFragment: 4, fastZero: 16, payload: 32 } as const;
const COMPACT_BYTES = 28;
const EXTENDED_BYTES = 32;

/** Rows of the table of clients in docs/INTEROP.md. */
export type Feature =
  | 'FLUSH'
  | 'FUA'
  | 'TRIM'
  | 'WRITE_ZEROES'
  | 'FAST_ZERO'
  | 'CACHE'
  | 'DF'
  | '`base:allocation`'
  | '`bucketdisk:state`'
  | 'BLOCK_STATUS_PAYLOAD';

export interface Traffic {
  readonly framing: 'simple' | 'structured' | 'extended';
  readonly features: ReadonlySet<Feature>;
}

/** Tells what a connection was used for. */
export function trafficOf(bytes: Buffer): Traffic {
  const features = new Set<Feature>();
  const contexts = new Set<string>();
  let framing: Traffic['framing'] = 'simple';
  let at = 4;
  while (bytes.subarray(at, at + OPTION_MAGIC.length).equals(OPTION_MAGIC)) {
    const [option, length] = [bytes.readUInt32BE(at + 8), bytes.readUInt32BE(at + 12)];
    const data = bytes.toString('latin1', at + 16, at + 16 + length);
    at += 16 + length;
    if (option === OPTION.extended) framing = 'extended';
    if (option === OPTION.structured && framing === 'simple') framing = 'structured';
    if (option === OPTION.setContexts) {
      for (const name of ['base:allocation', 'bucketdisk:state']) if (data.includes(name)) contexts.add(name);
    }
  }
  const headerBytes = framing === 'extended' ? EXTENDED_BYTES : COMPACT_BYTES;
  while (at + headerBytes <= bytes.length) {
    const [flags, command] = [bytes.readUInt16BE(at + 4), bytes.readUInt16BE(at + 6)];
    const hasPayload = command === COMMAND.write || (framing === 'extended' && (flags & FLAG.payload) !== 0);
    for (const feature of featuresOf(command, flags, contexts)) features.add(feature);
    const length = framing === 'extended' ? Number(bytes.readBigUInt64BE(at + 24)) : bytes.readUInt32BE(at + 24);
    at += headerBytes + (hasPayload ? length : 0);
  }
  return { framing, features };
}

function featuresOf(command: number, flags: number, contexts: ReadonlySet<string>): Feature[] {
  const found: (Feature | false)[] = [
    command === COMMAND.flush && 'FLUSH',
    command === COMMAND.trim && 'TRIM',
    command === COMMAND.cache && 'CACHE',
    command === COMMAND.writeZeroes && 'WRITE_ZEROES',
    command === COMMAND.writeZeroes && (flags & FLAG.fastZero) !== 0 && 'FAST_ZERO',
    command === COMMAND.read && (flags & FLAG.dontFragment) !== 0 && 'DF',
    (flags & FLAG.fua) !== 0 && 'FUA',
    command === COMMAND.blockStatus && (flags & FLAG.payload) !== 0 && 'BLOCK_STATUS_PAYLOAD',
    command === COMMAND.blockStatus && contexts.has('base:allocation') && '`base:allocation`',
    command === COMMAND.blockStatus && contexts.has('bucketdisk:state') && '`bucketdisk:state`',
  ];
  return found.filter((feature) => feature !== false);
}

/** Passes on what clients and a server say, and keeps what the clients said. */
export class Tap {
  readonly #connections: { readonly client: Socket; readonly upstream: Socket; readonly sent: Buffer[] }[] = [];
  #openMax = 0;

  /** Listens at `target`, a path or a port of this machine, for as long as the test takes; resolves with the port or path. */
  static async open(lifetime: Lifetime, upstream: ServerAddress, path?: string): Promise<{ tap: Tap; at: string }> {
    const tap = new Tap();
    const server = createServer({ allowHalfOpen: true }, (client) => tap.#add(client, connect({ ...upstream })));
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      if (path === undefined) server.listen(0, '127.0.0.1', resolve);
      else server.listen(path, resolve);
    });
    onEnd(lifetime, () => {
      tap.cut();
      server.close();
    });
    const address = server.address();
    return { tap, at: address !== null && typeof address === 'object' ? String(address.port) : String(path) };
  }

  /** What each connection was used for. */
  traffic(): Traffic[] {
    return this.#connections.map(({ sent }) => trafficOf(Buffer.concat(sent)));
  }

  /** So many connections were open at once. */
  get openMax(): number {
    return this.#openMax;
  }

  /** Breaks every connection off, as when the server is killed. */
  cut(): void {
    for (const { client, upstream } of this.#connections) {
      client.destroy();
      upstream.destroy();
    }
  }

  #add(client: Socket, upstream: Socket): void {
    const sent: Buffer[] = [];
    this.#connections.push({ client, upstream, sent });
    const open = this.#connections.filter((one) => !one.client.destroyed).length;
    this.#openMax = Math.max(this.#openMax, open);
    client.on('data', (chunk: Buffer) => sent.push(chunk));
    client.pipe(upstream).pipe(client);
    for (const [socket, other] of [
      [client, upstream],
      [upstream, client],
    ] as const) {
      socket.on('error', () => {});
      socket.on('close', () => other.destroy());
    }
  }
}
