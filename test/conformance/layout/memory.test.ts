/** The layout's contract on the blocks layout, in all its variants, over a bucket in memory. */
import { MemoryObjectStore } from '../../../src/object/memory.ts';
import { layoutSuite } from './suite.ts';
import { openBlocks, VARIANTS } from './variants.ts';

for (const [name, variant] of Object.entries(VARIANTS)) {
  const { blockSizeBytes } = variant;
  layoutSuite(
    `blocks, ${name}`,
    async () => {
      const store = new MemoryObjectStore();
      return {
        store,
        open: (blocks) => openBlocks(store, variant, blocks * blockSizeBytes),
        close: () => store.close(),
      };
    },
    { blockSizeBytes, knowsHoles: variant.exclusive },
  );
}
