/** Conversations to try a server with: sensible ones, and what chance makes of them. */
import type { Random } from '../../lease/random.ts';
import { clientFlagsBytes, infoData, metaContextData, optionBytes, queryPayload, requestBytes } from '../raw-client.ts';
import { someRecording } from './recordings.ts';
import { EXPORT_NAME, PAYLOAD_MAX, SIZE } from './reference.ts';

const EDGES = [
  0,
  1,
  2,
  7,
  27,
  28,
  511,
  512,
  4096,
  16_384,
  16_385,
  PAYLOAD_MAX,
  PAYLOAD_MAX + 1,
  SIZE,
  2 ** 31,
  2 ** 32 - 1,
];

const CONTEXT_QUERIES = [['x:y', 'base:allocation'], ['bucketdisk:state'], ['bucketdisk:state', 'base:allocation']];

function pick<T>(random: Random, values: readonly T[]): T {
  return values[random.int(0, values.length - 1)] as T;
}

function bytesOf(random: Random, length: number): Buffer {
  // Now and then all zeros, which are sent back as holes.
  return Buffer.alloc(length, random.chance(0.3) ? 0 : random.int(1, 255));
}

/** What a client sends in a conversation: made up, or recorded of a real one; good, or after a few accidents. */
export function someInput(random: Random): Buffer {
  const pieces = random.chance(0.3) ? someRecording(random) : sensible(random);
  return spoiled(random, pieces, random.chance(0.5) ? 0 : random.int(1, 3));
}

/** A whole conversation, good but for what is refused in good order. */
function sensible(random: Random): Buffer[] {
  const pieces = [clientFlagsBytes(random.int(0, 3))];
  const extended = random.chance(0.4);
  if (random.chance(extended ? 0.2 : 0.8)) pieces.push(optionBytes(8));
  if (extended) pieces.push(optionBytes(11));
  for (let i = random.int(0, 4); i > 0; i--) pieces.push(someOption(random));
  if (random.chance(0.7)) {
    pieces.push(optionBytes(10, metaContextData(pick(random, ['', EXPORT_NAME]), pick(random, CONTEXT_QUERIES))));
  }
  pieces.push(
    random.chance(extended ? 0.05 : 0.2)
      ? optionBytes(1, Buffer.from(EXPORT_NAME))
      : optionBytes(7, infoData('', [1, 2, 3])),
  );
  for (let i = random.int(0, random.chance(0.1) ? 100 : 14); i > 0; i--) {
    pieces.push(someRequest(random, BigInt(i), extended));
  }
  if (random.chance(0.3)) pieces.push(requestBytes({ type: 2 }, extended));
  return pieces;
}

function someOption(random: Random): Buffer {
  const name = pick(random, ['', EXPORT_NAME, 'nosuch', 'n\0ul', 'ä'.repeat(40), 'x'.repeat(5000)]);
  switch (random.int(0, 6)) {
    case 0:
      return optionBytes(3, random.chance(0.2) ? Buffer.from('data') : Buffer.alloc(0));
    case 1:
      return optionBytes(6, infoData(name, [random.int(0, 5), random.int(0, 65_535)]));
    case 2:
      return optionBytes(
        random.int(9, 10),
        metaContextData(name, pick(random, [[], ['base:'], ['', 'base:allocation']])),
      );
    case 3:
      return optionBytes(random.int(12, 40), bytesOf(random, random.int(0, 3000)));
    case 4:
      return optionBytes(pick(random, [3, 6, 8, 9, 11, 0x77]), bytesOf(random, random.int(60_000, 70_000)));
    case 5:
      return optionBytes(pick(random, [5, 8, 11]), Buffer.alloc(random.int(0, 1)));
    default:
      return optionBytes(random.int(5, 10), bytesOf(random, random.int(0, 20)));
  }
}

function someRequest(random: Random, cookie: bigint, extended: boolean): Buffer {
  const type = pick(random, [0, 0, 0, 1, 1, 1, 3, 4, 5, 6, 7, 7, random.int(8, 20)]);
  const flags = random.chance(0.6) ? 0 : pick(random, [1, 2, 4, 8, 16, 32, 1 << random.int(0, 15)]);
  const length = someLength(random, type);
  const last = SIZE - Math.min(length, SIZE);
  const offset = random.chance(0.85)
    ? BigInt(random.int(0, last))
    : pick(random, [BigInt(last), BigInt(last + 1), BigInt(SIZE), 2n ** 53n, 2n ** 63n, 2n ** 64n - 1n]);
  if (extended && type === 7 && random.chance(0.5)) {
    const ids = Array.from({ length: random.int(0, 3) }, () => random.int(1, 3));
    return requestBytes({ type, flags, cookie, offset, payload: queryPayload(length, ids) }, true);
  }
  const large = extended && random.chance(0.05) ? pick(random, [2n ** 32n, 2n ** 53n + 1n, 2n ** 64n - 1n]) : length;
  // Now and then a payload where none belongs.
  const hasPayload = type === 1 || (extended && random.chance(0.05));
  const rest = hasPayload ? { payload: bytesOf(random, Math.min(length, 2 * PAYLOAD_MAX)) } : { length: large };
  return requestBytes({ type, flags, cookie, offset, ...rest }, extended);
}

function someLength(random: Random, type: number): number {
  const lot = random.next();
  if (lot < 0.1 && type !== 1) return pick(random, EDGES);
  // Powers of two are what clients send, and what is kept for the next write.
  if (lot < 0.5) return 2 ** random.int(9, 15);
  return random.int(0, lot < 0.8 ? 2000 : PAYLOAD_MAX + 10);
}

/** The pieces joined, after so many accidents; without any they may still lack their end. */
function spoiled(random: Random, pieces: readonly Buffer[], accidents: number): Buffer {
  const list = [...pieces];
  let bytes = Buffer.alloc(0);
  for (let i = 0; i < accidents && list.length > 0; i++) {
    const at = random.int(0, list.length - 1);
    if (random.chance(0.5)) list.splice(at, random.int(0, 1), ...(random.chance(0.5) ? [pick(random, list)] : []));
  }
  bytes = Buffer.concat(list);
  if (accidents === 0 && random.chance(0.1)) return bytes.subarray(0, random.int(0, bytes.length));
  for (let i = 0; i < accidents && bytes.length > 0; i++) {
    const at = random.int(0, bytes.length - 1);
    switch (random.int(0, 4)) {
      case 0:
        bytes[at] = random.int(0, 255);
        break;
      case 1:
        bytes = bytes.subarray(0, at);
        break;
      case 2:
        if (at + 4 <= bytes.length) bytes.writeUInt32BE(pick(random, EDGES), at);
        break;
      case 3:
        bytes = Buffer.concat([bytes.subarray(0, at), bytes.subarray(Math.min(bytes.length, at + random.int(1, 9)))]);
        break;
      default:
        bytes = Buffer.concat([bytes.subarray(0, at), bytesOf(random, random.int(1, 40)), bytes.subarray(at)]);
    }
  }
  return bytes;
}
