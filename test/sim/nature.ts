/** What goes wrong around a volume while it is used, as its plan has it, until it is told to be calm. */
import type { Random } from '../support/random.ts';
import type { DiskFaults } from '../support/sim-disk.ts';
import type { Life } from './life.ts';
import type { NaturePlan } from './plan.ts';
import type { Weather } from './sim-store.ts';
import type { Trace } from './trace.ts';

const SOUND: DiskFaults = { read: 0, write: 0, sync: 0, names: 0 };
const MIB = 1024 * 1024;
const READ_FAULTS_MS_MAX = 60_000;
/** What cannot be read for longer than this and the above counts as lost, which is a matter of damage. */
const UNREADABLE_MS_MAX = 180_000;

export class Nature {
  readonly #life: Life;
  readonly #plan: NaturePlan;
  readonly #random: Random;
  readonly #trace: Trace;
  readonly #onDamage: () => void;
  readonly #calm = new AbortController();
  /** When the disk first failed to read in this life. */
  #unreadableSinceMs: number | null = null;

  /** `onDamage`: called when what is stored is damaged. */
  constructor(life: Life, plan: NaturePlan, random: Random, trace: Trace, onDamage: () => void) {
    this.#onDamage = onDamage;
    this.#life = life;
    this.#plan = plan;
    this.#random = random;
    this.#trace = trace;
  }

  /** Never rejects. */
  begin(): void {
    const { syncErrors } = this.#plan;
    if (syncErrors > 0) this.#life.disk.faults = { ...SOUND, sync: syncErrors };
    if (this.#random.chance(0.4)) this.#act();
    void this.#run();
  }

  /** From here on nothing goes wrong any more. */
  calm(): void {
    this.#calm.abort();
    if (this.#life.isDead) return;
    this.#life.store.weather = 'fair';
    this.#life.disk.faults = SOUND;
    this.#life.disk.capacityBytes = Infinity;
  }

  async #run(): Promise<void> {
    const { signal } = this.#calm;
    while (!signal.aborted && !this.#life.isDead) {
      const ms = this.#random.below(this.#random.pick([20, 500, 5000, 120_000]));
      await this.#life.clock.sleep(ms, signal).catch(() => {});
      if (!signal.aborted && !this.#life.isDead) this.#act();
    }
  }

  #act(): void {
    const { storeFaults, diskFaults, fullDisk, damage } = this.#plan;
    const random = this.#random;
    if (storeFaults && random.chance(0.6)) {
      this.#life.store.weather = random.pick<Weather>(['fair', 'fair', 'flaky', 'flaky', 'out', 'denied']);
    }
    if (diskFaults) this.#changeDisk();
    if (fullDisk) {
      const { disk } = this.#life;
      disk.capacityBytes = random.chance(0.5) ? Infinity : disk.usedBytes + random.below(MIB);
      this.#trace.line(`disk: room for ${disk.capacityBytes - disk.usedBytes} bytes more`);
    }
    // What rots while nobody looks, right behind what is known to be durable, cannot be told from what was torn.
    if (damage && this.#life.isOpen && random.chance(0.2)) this.#damage();
  }

  #changeDisk(): void {
    const random = this.#random;
    const share = random.pick([0.05, 0.3, 0.3, 1]);
    const faults = random.pick<DiskFaults>([
      SOUND,
      SOUND,
      { ...SOUND, sync: share },
      { ...SOUND, sync: share },
      { ...SOUND, write: share },
      { ...SOUND, read: share },
      { ...SOUND, names: share },
      { read: share, write: share, sync: share, names: share },
    ]);
    if (faults.read > 0) {
      this.#unreadableSinceMs ??= this.#life.time.nowMs;
      if (this.#life.time.nowMs - this.#unreadableSinceMs > UNREADABLE_MS_MAX) return;
    }
    this.#life.disk.faults = faults;
    this.#trace.line(`disk: faults ${JSON.stringify(faults)}`);
    if (faults.read > 0) void this.#endReadFaults();
  }

  async #endReadFaults(): Promise<void> {
    const { clock, disk } = this.#life;
    await clock.sleep(this.#random.below(READ_FAULTS_MS_MAX), this.#calm.signal).catch(() => {});
    if (!this.#life.isDead) disk.faults = { ...disk.faults, read: 0 };
  }

  #damage(): void {
    const { disk } = this.#life;
    const files = disk.files.filter(({ sizeBytes }) => sizeBytes > 0);
    const [first, ...rest] = files;
    if (first === undefined) return;
    const { path, sizeBytes } = this.#random.pick([first, ...rest]);
    const position = this.#random.below(sizeBytes);
    this.#onDamage();
    if (this.#random.chance(0.7)) disk.flipBit(path, position);
    else disk.breakSector(path, position);
  }
}
