/** The conformance suite on S3 as the strict test server speaks it, bare, on a thread, and under the whole stack. */
import type { ObjectStore } from '../../../src/object/object-store.ts';
import { S3ObjectStore } from '../../../src/object/s3/s3-object-store.ts';
import type { S3StoreOptions } from '../../../src/object/s3/s3-options.ts';
import { ThreadedObjectStore } from '../../../src/object/thread/threaded-object-store.ts';
import { startS3Server } from '../../support/s3-server/s3-server.ts';
import { s3OptionsFor } from './s3-options.ts';
import { stackOn } from './stack.ts';
import { objectStoreSuite, type StoreUnderTest } from './suite.ts';

type Open = (options: S3StoreOptions) => ObjectStore | Promise<ObjectStore>;

async function openS3Stores(open: Open): Promise<StoreUnderTest> {
  const server = await startS3Server({ buckets: ['conformance'] });
  const { region, accessKeyId, secretAccessKey } = server;
  const address = { endpoint: server.url, region, accessKeyId, secretAccessKey };
  const store = await open(s3OptionsFor(address, 'conformance'));
  const missingBucket = await open(s3OptionsFor(address, 'missing'));
  const close = async (): Promise<void> => {
    await store.close();
    await missingBucket.close();
    await server.close();
  };
  return { store, missingBucket, close };
}

objectStoreSuite('s3 on the test server', () => openS3Stores((options) => new S3ObjectStore(options)));
objectStoreSuite('s3 on a thread of its own', () => openS3Stores((options) => ThreadedObjectStore.open(options)));
objectStoreSuite('the stack on s3 on the test server', () =>
  openS3Stores(async (options) => stackOn(await ThreadedObjectStore.open(options)).store),
);
