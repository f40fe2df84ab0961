/**
 * Seeded runs against the model. MODEL_SEEDS=5000 runs that many, MODEL_SEED=17 only that one, MODEL_FIRST_SEED where to
 * begin.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { runModel } from './model.ts';

const SEEDS_DEFAULT = 40;
const { MODEL_SEED, MODEL_SEEDS, MODEL_FIRST_SEED } = process.env;
const first = Number(MODEL_SEED ?? MODEL_FIRST_SEED ?? 1);
const count = MODEL_SEED === undefined ? Number(MODEL_SEEDS ?? SEEDS_DEFAULT) : 1;

test(`reads of a cached volume over a failing bucket are of their moment, seeds ${first} to ${first + count - 1}`, async (t) => {
  let reads = 0;
  let missedPages = 0;
  let batches = 0;
  for (let seed = first; seed < first + count; seed++) {
    const counts = await runModel(seed);
    reads += counts.reads;
    missedPages += counts.missedPages;
    batches += counts.batches;
  }
  t.diagnostic(`${count} seeds, ${reads} reads, ${missedPages} pages fetched, ${batches} batches uploaded`);
  assert.ok(reads > 0);
});
