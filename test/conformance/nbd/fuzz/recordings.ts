/** What real clients have sent, one file a connection: `record.ts` makes them. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Random } from '../../lease/random.ts';

export const RECORDINGS_DIR = join(import.meta.dirname, '../../../data/nbd-recordings');

export interface Recording {
  readonly name: string;
  readonly bytes: Buffer;
}

export function readRecordings(): Recording[] {
  return readdirSync(RECORDINGS_DIR)
    .filter((name) => name.endsWith('.bin'))
    .sort()
    .map((name) => ({ name, bytes: readFileSync(join(RECORDINGS_DIR, name)) }));
}

const RECORDINGS = readRecordings();

/** One of them, cut at random places. */
export function someRecording(random: Random): Buffer[] {
  const bytes = RECORDINGS[random.int(0, RECORDINGS.length - 1)]?.bytes ?? Buffer.alloc(0);
  const cuts = Array.from({ length: random.int(0, 6) }, () => random.int(0, bytes.length)).sort((a, b) => a - b);
  return [0, ...cuts].map((from, i) => bytes.subarray(from, cuts[i] ?? bytes.length));
}
