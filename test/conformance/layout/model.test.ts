/**
 * Seeded runs against the model. MODEL_SEEDS=5000 runs that many, MODEL_SEED=17 only that one, MODEL_FIRST_SEED where to
 * begin.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { runModel } from './model.ts';

const { MODEL_SEED, MODEL_SEEDS, MODEL_FIRST_SEED } = process.env;

for (const { name, large, seedsDefault } of [
  { name: 'a disk under concurrent requests and a failing bucket', large: false, seedsDefault: 200 },
  { name: 'a large disk, trimmed in turns', large: true, seedsDefault: 50 },
]) {
  const first = Number(MODEL_SEED ?? MODEL_FIRST_SEED ?? 1);
  const count = MODEL_SEED === undefined ? Number(MODEL_SEEDS ?? seedsDefault) : 1;

  test(`${name}, seeds ${first} to ${first + count - 1}`, async (t) => {
    let requests = 0;
    let failed = 0;
    let storeCalls = 0;
    for (let seed = first; seed < first + count; seed++) {
      const counts = await runModel(seed, large);
      requests += counts.requests;
      failed += counts.failed;
      storeCalls += counts.storeCalls;
    }
    t.diagnostic(
      `${count} seeds, ${requests} requests of which ${failed} failed, ${storeCalls} requests to the bucket`,
    );
    assert.ok(requests > 0);
  });
}
