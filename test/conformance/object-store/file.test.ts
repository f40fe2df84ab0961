/** The conformance suite on a directory as the bucket, bare and under the whole stack. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { FileObjectStore } from '../../../src/object/file/file-object-store.ts';
import type { ObjectStore } from '../../../src/object/object-store.ts';
import { stackOn } from './stack.ts';
import { objectStoreSuite, type StoreUnderTest } from './suite.ts';

async function openFileStores(wrap: (store: ObjectStore) => ObjectStore): Promise<StoreUnderTest> {
  const directory = await mkdtemp(join(tmpdir(), 'bucketdisk-file-store-'));
  const store = wrap(await FileObjectStore.open(join(directory, 'bucket')));
  const missingBucket = wrap(await FileObjectStore.open(join(directory, 'missing')));
  await rm(join(directory, 'missing'), { recursive: true });
  const close = async (): Promise<void> => {
    await store.close();
    await missingBucket.close();
    await rm(directory, { recursive: true });
  };
  return { store, missingBucket, close };
}

objectStoreSuite('file', () => openFileStores((store) => store));
objectStoreSuite('the stack on file', () => openFileStores((store) => stackOn(store).store));
