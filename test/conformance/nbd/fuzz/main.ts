/**
 * `npm run fuzz -- --conversations N [--first SEED] [--sockets PERCENT]`: conversations by chance until so many have been
 * played, most without sockets and some over them. Ends at the first that goes wrong and tells its seed. What the process
 * holds at the end, and how its memory has grown, is told too: nothing may be left of a conversation.
 */
import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { playSeed } from './lanes.ts';
import { playSocketSeed } from './sockets.ts';

const TELL_MS = 10_000;
/** Some thousand conversations into the run everything that is kept for reuse is there. */
const WARM_CONVERSATIONS = 5_000;

const USAGE = `npm run fuzz -- [options]
  --conversations N   so many are played, 20,000 unless told
  --first SEED        the first seed, 1 unless told; the run ends at the first that goes wrong, and names it
  --sockets PERCENT   so many of a hundred go over real sockets, 5 unless told
`;

const { values } = parseArgs({
  options: {
    help: { type: 'boolean', short: 'h', default: false },
    conversations: { type: 'string', default: '20000' },
    first: { type: 'string', default: '1' },
    sockets: { type: 'string', default: '5' },
  },
});
if (values.help) {
  process.stdout.write(USAGE);
  process.exit();
}
const wanted = Number(values.conversations);
const socketShare = Number(values.sockets) / 100;
assert.ok(wanted >= 1 && Number(values.first) >= 0 && socketShare >= 0 && socketShare <= 1, 'arguments out of range');

const mebibytes = (bytes: number): string => `${Math.round(bytes / 2 ** 20)} MiB`;
const say = (line: string): boolean => process.stdout.write(`${line}\n`);

const dir = await mkdtemp(join(tmpdir(), 'nbd-fuzz-'));
const began = performance.now();
let told = began;
let warmBytes = 0;
let played = 0;
let overSockets = 0;
let seed = Number(values.first);
try {
  for (; played < wanted; seed++) {
    try {
      if (overSockets < played * socketShare) {
        await playSocketSeed(seed, dir);
        overSockets++;
        played++;
      } else played += await playSeed(seed);
    } catch (error) {
      throw new Error(`seed ${seed} went wrong`, { cause: error });
    }
    if (warmBytes === 0 && played >= WARM_CONVERSATIONS) warmBytes = process.memoryUsage.rss();
    if (performance.now() - told > TELL_MS) {
      told = performance.now();
      const rate = Math.round(played / ((told - began) / 1000));
      say(`${played} conversations, seed ${seed}, ${rate}/s, ${mebibytes(process.memoryUsage.rss())}`);
    }
  }
} finally {
  await rm(dir, { recursive: true, force: true });
}
// Not what this process itself writes to.
const held = process.getActiveResourcesInfo().filter((name) => /^(TCP|Timeout|PipeServer)/.test(name));
assert.deepEqual(held, [], 'something is left open');
const seconds = Math.round((performance.now() - began) / 1000);
say(
  `${played} conversations well, ${overSockets} of them over sockets, seeds ${values.first} to ${seed - 1}, ${seconds} s`,
);
if (warmBytes > 0) say(`memory: ${mebibytes(warmBytes)} once warm, ${mebibytes(process.memoryUsage.rss())} at the end`);
