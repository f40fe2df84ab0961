/** The device's contract with a cache, in both durability modes, over several layouts. */
import { cpSync } from 'node:fs';
import { CachedVolume, type Durability } from '../../../src/cache/cached-volume.ts';
import { SystemClock } from '../../../src/lib/clock.ts';
import { silentLog } from '../../../src/lib/log.ts';
import { SystemDisk } from '../../../src/lib/system-disk.ts';
import { MemoryObjectStore } from '../../../src/object/memory.ts';
import type { ObjectStore } from '../../../src/object/object-store.ts';
import { CachedDevice } from '../../../src/volume/cached-device.ts';
import { openFence } from '../../../src/volume/fence.ts';
import { WriteThroughDevice } from '../../../src/volume/write-through-device.ts';
import { type BlocksVariant, openBlocks, PLAIN, VARIANTS } from '../layout/variants.ts';
import { blockDeviceSuite, DEVICE_BYTES } from './suite.ts';
import { temporaryDirectory } from './temporary-directory.ts';

const KIB = 1024;

function openCached(
  store: ObjectStore,
  variant: BlocksVariant,
  directory: string,
  durability: Durability,
): Promise<CachedVolume> {
  return CachedVolume.open({
    disk: new SystemDisk(),
    directory,
    layout: openBlocks(store, variant, DEVICE_BYTES),
    volumeId: 'volume',
    trusted: true,
    unchanged: null,
    onTrusted: async () => {},
    whenOurs: (work) => work,
    durability,
    logSizeBytes: 256 * KIB,
    cacheSizeBytes: 1024 * KIB,
    triggers: { ageMs: 5, dirtyBytesMax: 64 * KIB },
    lost: () => null,
    clock: new SystemClock(),
    log: silentLog,
  });
}

const variants: Readonly<Record<string, BlocksVariant>> = {
  plain: PLAIN,
  zstd: VARIANTS.zstd ?? PLAIN,
  'blocks of 64 KiB': VARIANTS['blocks of 64 KiB'] ?? PLAIN,
};

for (const [name, variant] of Object.entries(variants)) {
  for (const durability of ['local', 's3'] as const) {
    blockDeviceSuite(`cached, ${name}, ${durability}`, async () => {
      const store = new MemoryObjectStore();
      const directory = temporaryDirectory();
      const volume = await openCached(store, variant, directory.path, durability);
      /** What the next to open it finds: with the cache's directory as it is now, or without. */
      const durable = async (offset: number, length: number): Promise<Buffer> => {
        if (durability === 's3') return openBlocks(store, variant, DEVICE_BYTES).read(offset, length);
        const copy = temporaryDirectory();
        cpSync(directory.path, copy.path, { recursive: true });
        const next = await openCached(store, variant, copy.path, durability);
        const bytes = Buffer.from(await next.read(offset, length));
        await next.close(AbortSignal.abort());
        copy.remove();
        return bytes;
      };
      return {
        device: new CachedDevice(volume),
        durable,
        readOnly: async () => {
          await volume.uploadAll(new AbortController().signal);
          const layout = openBlocks(store, { ...variant, exclusive: false }, DEVICE_BYTES);
          return new WriteThroughDevice({ layout, fence: openFence, readOnly: true });
        },
        close: async () => {
          await store.close();
          directory.remove();
        },
      };
    });
  }
}
