/** The wrappers as the appliance stacks them, with limits that are felt and no patience to speak of. */
import { SystemClock } from '../../../src/lib/clock.ts';
import { silentLog } from '../../../src/lib/log.ts';
import { InstrumentedObjectStore } from '../../../src/object/instrumented.ts';
import { LimitedObjectStore, StoreThrottle } from '../../../src/object/limited.ts';
import type { ObjectStore } from '../../../src/object/object-store.ts';
import { RetryingObjectStore } from '../../../src/object/retrying.ts';
import { StoreHealth } from '../../../src/object/store-health.ts';
import { StoreMetrics } from '../../../src/object/store-metrics.ts';

export interface Stack {
  readonly store: ObjectStore;
  readonly metrics: StoreMetrics;
  readonly health: StoreHealth;
}

export function stackOn(raw: ObjectStore, deadlineMs = 20_000): Stack {
  const clock = new SystemClock();
  const metrics = new StoreMetrics();
  const health = new StoreHealth(clock, silentLog);
  const limits = { concurrency: 8, uploadRateBytes: 1e9, downloadRateBytes: 1e9 };
  const limited = new LimitedObjectStore(
    new InstrumentedObjectStore(raw, metrics, clock),
    new StoreThrottle(limits, clock),
  );
  const policy = { deadlineMs, pauseInitialMs: 5, pauseMaxMs: 50 };
  return { store: new RetryingObjectStore(limited, policy, clock, health), metrics, health };
}
