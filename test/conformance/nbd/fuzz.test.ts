/** Conversations by chance, over sockets. FUZZ_SEEDS, FUZZ_SEED and FUZZ_FIRST_SEED as in the unit test without them. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { playSocketSeed } from './fuzz/sockets.ts';

const { FUZZ_SEED, FUZZ_SEEDS, FUZZ_FIRST_SEED } = process.env;
const first = Number(FUZZ_SEED ?? FUZZ_FIRST_SEED ?? 1);
const count = FUZZ_SEED === undefined ? Number(FUZZ_SEEDS ?? 150) : 1;
const AT_ONCE = 4;

test(`conversations by chance over sockets, seeds ${first} to ${first + count - 1}`, async (t) => {
  const dir = await mkdtemp(join(tmpdir(), 'nbd-'));
  t.after(() => rm(dir, { recursive: true, force: true }));
  let next = first;
  const worker = async (): Promise<void> => {
    while (next < first + count) {
      const seed = next++;
      await playSocketSeed(seed, dir).catch((error: unknown) => {
        throw new Error(`seed ${seed}`, { cause: error });
      });
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, worker));
});
