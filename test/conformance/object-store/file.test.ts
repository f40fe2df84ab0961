/** The conformance suite on a directory as the bucket. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { FileObjectStore } from '../../../src/object/file/file-object-store.ts';
import { objectStoreSuite } from './suite.ts';

objectStoreSuite('file', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'bucketdisk-file-store-'));
  const store = await FileObjectStore.open(join(directory, 'bucket'));
  const missingBucket = await FileObjectStore.open(join(directory, 'missing'));
  await rm(join(directory, 'missing'), { recursive: true });
  return {
    store,
    missingBucket,
    close: async () => {
      await store.close();
      await missingBucket.close();
      await rm(directory, { recursive: true });
    },
  };
});
