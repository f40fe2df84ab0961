/** The conformance suite on S3 as a Ceph RADOS gateway speaks it, bare and under the whole stack. */
import { it } from 'node:test';
import type { ObjectStore } from '../../../src/object/object-store.ts';
import { S3ObjectStore } from '../../../src/object/s3/s3-object-store.ts';
import { type CephGateway, cephGateway } from '../../support/ceph.ts';
import { s3OptionsFor } from './s3-options.ts';
import { stackOn } from './stack.ts';
import { objectStoreSuite, type StoreUnderTest } from './suite.ts';

let gateway: CephGateway | null = null;

it('has a Ceph gateway to run on', async (t) => {
  gateway = await cephGateway(t);
});

async function openCephStores(wrap: (store: ObjectStore) => ObjectStore): Promise<StoreUnderTest | null> {
  if (gateway === null) return null;
  const bucket = await gateway.createBucket('conformance');
  const store = wrap(new S3ObjectStore(s3OptionsFor(gateway, bucket)));
  const missingBucket = wrap(new S3ObjectStore(s3OptionsFor(gateway, `${bucket}-missing`)));
  const close = async (): Promise<void> => {
    await store.close();
    await missingBucket.close();
  };
  return { store, missingBucket, close };
}

objectStoreSuite('s3 on Ceph', () => openCephStores((store) => store), { losersMayBeUnavailable: true });
objectStoreSuite('the stack on s3 on Ceph', () => openCephStores((store) => stackOn(store).store), {
  losersMayBeUnavailable: true,
});
