/** The volume behind its cache, as the simulation opens it. */
import { CachedVolume } from '../../src/cache/cached-volume.ts';
import { PoisonedSlabs } from '../support/poisoned-slabs.ts';
import type { Subject, SubjectOptions } from './subject.ts';

export const cachedSubject: Subject = {
  name: 'cached',
  noticesDamage: true,
  open({ upload, random, ...options }: SubjectOptions) {
    // Nobody else writes the bucket. Whether that is known, is found out block by block, or never, is another matter.
    const trusted = random.chance(0.7);
    const seesChanges = random.chance(0.5);
    const knownAfterMs = random.below(5000);
    const unchanged = async (): Promise<(offset: number) => boolean> => {
      await options.clock.sleep(knownAfterMs);
      return (offset) => offset % 16384 < 12288;
    };
    return CachedVolume.open({
      ...options,
      volumeId: 'volume',
      trusted,
      unchanged: trusted || !seesChanges ? null : unchanged(),
      onTrusted: async () => {},
      whenOurs: (work) => work,
      triggers: upload,
      lost: () => null,
      slabs: new PoisonedSlabs(),
    });
  },
};
