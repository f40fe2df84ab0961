/**
 * Conversations by chance, without sockets. FUZZ_SEEDS=100000 plays that many seeds, FUZZ_SEED=17 only that one,
 * FUZZ_FIRST_SEED tells where to begin; `npm run fuzz` is for long runs.
 */
import { test } from 'node:test';
import { playSeed } from '../../conformance/nbd/fuzz/lanes.ts';

const { FUZZ_SEED, FUZZ_SEEDS, FUZZ_FIRST_SEED } = process.env;
const first = Number(FUZZ_SEED ?? FUZZ_FIRST_SEED ?? 1);
const count = FUZZ_SEED === undefined ? Number(FUZZ_SEEDS ?? 1000) : 1;

test(`conversations by chance, seeds ${first} to ${first + count - 1}`, async () => {
  for (let seed = first; seed < first + count; seed++) {
    await playSeed(seed).catch((error: unknown) => {
      throw new Error(`seed ${seed}`, { cause: error });
    });
  }
});
