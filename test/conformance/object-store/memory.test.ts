/** The conformance suite on the bucket in memory, bare and under the whole stack. */
import { MemoryObjectStore } from '../../../src/object/memory.ts';
import { stackOn } from './stack.ts';
import { objectStoreSuite } from './suite.ts';

objectStoreSuite('memory', async () => {
  const store = new MemoryObjectStore();
  return { store, close: () => store.close() };
});

objectStoreSuite('the stack on memory', async () => {
  const { store } = stackOn(new MemoryObjectStore());
  return { store, close: () => store.close() };
});
