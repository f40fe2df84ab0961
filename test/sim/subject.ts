/** What the simulation runs: a volume that has a disk to itself and a layout below it. */
import type { Layout } from '../../src/layout/layout.ts';
import type { Clock } from '../../src/lib/clock.ts';
import type { Disk } from '../../src/lib/disk.ts';
import type { Log } from '../../src/lib/log.ts';
import type { BlockDevice } from '../../src/volume/block-device.ts';
import type { Random } from '../support/random.ts';

export type Durability = 'local' | 's3';

/** What a life of the volume is given. */
export interface SubjectOptions {
  readonly disk: Disk;
  /** On the disk, the volume's own; it need not be there. */
  readonly directory: string;
  readonly layout: Layout;
  readonly clock: Clock;
  readonly log: Log;
  readonly random: Random;
  readonly durability: Durability;
  readonly logSizeBytes: number;
  readonly cacheSizeBytes: number;
  readonly upload: { readonly ageMs: number; readonly dirtyBytesMax: number };
}

export interface SimVolume extends Omit<BlockDevice, 'geometry' | 'close'> {
  /** Resolves once all that was written before is in the bucket. */
  uploadAll(signal: AbortSignal): Promise<void>;
  /** True: all is in the bucket. False: `giveUp` has aborted, and the rest is safe on the disk. */
  close(giveUp: AbortSignal): Promise<boolean>;
  status(): unknown;
}

export interface Subject {
  readonly name: string;
  /** Whether bits that flip on the disk do it no harm that it does not tell of. */
  readonly noticesDamage: boolean;
  open(options: SubjectOptions): Promise<SimVolume>;
}
