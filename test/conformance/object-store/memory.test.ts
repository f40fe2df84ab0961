/** The conformance suite on the bucket in memory. */
import { MemoryObjectStore } from '../../../src/object/memory.ts';
import { objectStoreSuite } from './suite.ts';

objectStoreSuite('memory', async () => {
  const store = new MemoryObjectStore();
  return { store, close: () => store.close() };
});
