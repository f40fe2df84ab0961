/** The layout's contract on the blocks layout over a directory as the bucket. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { FileObjectStore } from '../../../src/object/file/file-object-store.ts';
import { layoutSuite } from './suite.ts';
import { openBlocks, PLAIN, VARIANTS } from './variants.ts';

for (const [name, variant] of [
  ['plain', PLAIN],
  ['AES-256-CBC and zstd', VARIANTS['AES-256-CBC and zstd'] ?? PLAIN],
  ['hashed keys', VARIANTS['hashed keys'] ?? PLAIN],
] as const) {
  const { blockSizeBytes } = variant;
  layoutSuite(
    `blocks, ${name}, in a directory`,
    async () => {
      const directory = await mkdtemp(join(tmpdir(), 'bucketdisk-layout-'));
      const store = await FileObjectStore.open(directory);
      const close = async (): Promise<void> => {
        await store.close();
        await rm(directory, { recursive: true });
      };
      return { store, open: (blocks) => openBlocks(store, variant, blocks * blockSizeBytes), close };
    },
    { blockSizeBytes, knowsHoles: variant.exclusive },
  );
}
