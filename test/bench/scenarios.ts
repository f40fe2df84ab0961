/** All scenarios, in the order they run. */
import type { Scenario } from './scenario.ts';
import { cacheOpen } from './scenarios/cache-open.ts';
import { cacheRead } from './scenarios/cache-read.ts';
import { cacheWrite } from './scenarios/cache-write.ts';
import { fuse } from './scenarios/fuse.ts';
import { latencyStore } from './scenarios/latency-store.ts';
import { nbd } from './scenarios/nbd.ts';
import { nbdFairness } from './scenarios/nbd-fairness.ts';
import { scale } from './scenarios/scale.ts';

export const SCENARIOS: readonly Scenario[] = [
  cacheWrite,
  cacheRead,
  cacheOpen,
  latencyStore,
  scale,
  nbd,
  nbdFairness,
  fuse,
];

/**
 * The scenarios whose names begin with one of the words; all of them without words.
 * @throws Error where a word is nobody's
 */
export function selectScenarios(words: readonly string[], all: readonly Scenario[] = SCENARIOS): Scenario[] {
  for (const word of words) {
    if (!all.some(({ name }) => name.startsWith(word))) {
      throw new Error(`there is no scenario ${word}: ${all.map(({ name }) => name).join(', ')}`);
    }
  }
  return all.filter(({ name }) => words.length === 0 || words.some((word) => name.startsWith(word)));
}
