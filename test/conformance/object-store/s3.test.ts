/** The conformance suite on S3 as the strict test server speaks it, bare and under the whole stack. */
import type { ObjectStore } from '../../../src/object/object-store.ts';
import { S3ObjectStore } from '../../../src/object/s3/s3-object-store.ts';
import { startS3Server } from '../../support/s3-server/s3-server.ts';
import { s3OptionsFor } from './s3-options.ts';
import { stackOn } from './stack.ts';
import { objectStoreSuite, type StoreUnderTest } from './suite.ts';

async function openS3Stores(wrap: (store: ObjectStore) => ObjectStore): Promise<StoreUnderTest> {
  const server = await startS3Server({ buckets: ['conformance'] });
  const { region, accessKeyId, secretAccessKey } = server;
  const address = { endpoint: server.url, region, accessKeyId, secretAccessKey };
  const store = wrap(new S3ObjectStore(s3OptionsFor(address, 'conformance')));
  const missingBucket = wrap(new S3ObjectStore(s3OptionsFor(address, 'missing')));
  const close = async (): Promise<void> => {
    await store.close();
    await missingBucket.close();
    await server.close();
  };
  return { store, missingBucket, close };
}

objectStoreSuite('s3 on the test server', () => openS3Stores((store) => store));
objectStoreSuite('the stack on s3 on the test server', () => openS3Stores((store) => stackOn(store).store));
