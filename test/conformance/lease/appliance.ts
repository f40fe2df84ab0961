/** A process of the simulation: holds the volume through the network, and writes numbers while it may. */
import { isStorageError, type StorageError } from '../../../src/lib/errors.ts';
import { silentLog } from '../../../src/lib/log.ts';
import type { ObjectStore } from '../../../src/object/object-store.ts';
import { RetryingObjectStore } from '../../../src/object/retrying.ts';
import { makeClaims } from '../../../src/volume/claims.ts';
import { FencedObjectStore } from '../../../src/volume/fenced-object-store.ts';
import { Hold } from '../../../src/volume/hold.ts';
import { VirtualClock, type VirtualTime } from '../../support/virtual-clock.ts';
import { type Arrival, NetworkStore, type Weather } from './network.ts';
import type { Random } from './random.ts';

export const DATA_KEY = 'vol/00000001';

export interface World {
  readonly time: VirtualTime;
  readonly random: Random;
  readonly bucket: ObjectStore;
  readonly weather: Weather;
  readonly lifeMs: number;
  readonly onData: (arrival: Arrival) => void;
}

export class SimulatedAppliance {
  readonly instance: string;
  readonly clock: VirtualClock;
  readonly #world: World;
  readonly #network: NetworkStore;
  #hold: Hold | null = null;
  #cutUntilMs = 0;

  constructor(world: World, instance: string) {
    const { time, random, bucket, weather, onData } = world;
    this.#world = world;
    this.instance = instance;
    // Wall clocks years apart.
    this.clock = new VirtualClock(time, random.int(0, 2_000_000_000_000));
    this.#network = new NetworkStore(bucket, this.clock, random, weather, (arrival) => {
      if (arrival.key === DATA_KEY) onData(arrival);
    });
    this.#network.isCut = (key) => key !== DATA_KEY && time.nowMs < this.#cutUntilMs;
  }

  /** Whether it believes that it may write. */
  get permitted(): boolean {
    return this.#hold?.valid ?? false;
  }

  /** Its leases and tokens do not get through for so long, while its data does. */
  cutOff(forMs: number): void {
    this.#cutUntilMs = this.#world.time.nowMs + forMs;
  }

  /** Rejects with HELD, or whatever the network did. */
  async acquire(takeOver: boolean, onLost: (error: StorageError) => void = () => {}): Promise<void> {
    const { lifeMs: durationMs, random } = this.#world;
    const { clock, instance } = this;
    const policy = { deadlineMs: durationMs / 4, pauseInitialMs: durationMs / 100, pauseMaxMs: durationMs / 10 };
    const store = new RetryingObjectStore(this.#network, policy, clock, undefined, () => random.next());
    const { claims } = makeClaims({
      store,
      prefix: 'vol/',
      sharedDisk: false,
      claimant: { instance, host: instance, pid: 1 },
      conditionalPuts: { ifMatch: true, ifNoneMatch: true },
      durationMs,
      takeOver,
      clock,
      log: silentLog,
    });
    const hold = new Hold({ claims, durationMs, clock, log: silentLog, onLost });
    await hold.acquire(new AbortController().signal);
    this.#hold = hold;
  }

  /** Writes one number after the other until the volume is lost or there are enough of them. True: not lost. */
  async write(holding: number, count: number): Promise<boolean> {
    const { random, lifeMs } = this.#world;
    const hold = this.#hold;
    if (hold === null) return false;
    const fenced = new FencedObjectStore(this.#network, hold);
    for (let number = 0; number < count; number++) {
      try {
        await fenced.put(DATA_KEY, Buffer.from(JSON.stringify({ holding, number })));
      } catch (error) {
        if (isStorageError(error, 'FENCED')) return false;
        if (!isStorageError(error, 'TIMEOUT')) throw error;
      }
      await this.clock.sleep((random.next() * lifeMs) / 8);
    }
    return true;
  }

  async release(): Promise<void> {
    await this.#hold?.release();
    this.#hold = null;
  }
}
