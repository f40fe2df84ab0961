/** The doctor's checks of the buckets: each that a volume is in, and the services they are at. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import type { Settings, VolumeSettings } from './config/settings.ts';
import { parseStoreUrl, type StoreUrl, volumeLocation } from './config/store-url.ts';
import { askEndpoint } from './doctor/ask-endpoint.ts';
import { type BucketInput, checkConditionalPuts, checkObjects, checkReachable } from './doctor/checks/bucket.ts';
import { checkRegion, checkSkew, type EndpointAnswer } from './doctor/checks/endpoint.ts';
import { type Check, ok, type Result } from './doctor/finding.ts';
import type { Stores } from './stores.ts';
import { volumeKeys } from './volume/volume-keys.ts';

interface Bucket {
  readonly storeUrl: string;
  readonly url: StoreUrl;
  readonly volumes: readonly VolumeSettings[];
  /** Of the first volume that is written, else the first. */
  readonly keyPrefix: string;
}

export class BucketChecks {
  readonly #settings: Settings;
  readonly #stores: Stores;
  readonly #buckets: readonly Bucket[];
  readonly #reachable = new Set<string>();

  constructor(settings: Settings, stores: Stores) {
    this.#settings = settings;
    this.#stores = stores;
    this.#buckets = bucketsOf(settings);
  }

  get usesS3(): boolean {
    return this.#buckets.some(({ url }) => url.kind === 's3');
  }

  /** Whether the check of it has been passed. */
  isReachable(storeUrl: string): boolean {
    return this.#reachable.has(storeUrl);
  }

  checks(): Check[] {
    return [
      ...(this.usesS3 ? this.#endpointChecks() : []),
      { name: 'bucket', run: (signal) => this.#each((bucket) => this.#reach(bucket, signal), true) },
      {
        name: 'objects',
        run: (signal) => this.#each(async (bucket) => checkObjects(await this.#input(bucket), signal)),
      },
      {
        name: 'conditional puts',
        run: (signal) => this.#each(async (bucket) => checkConditionalPuts(await this.#input(bucket), signal)),
      },
    ];
  }

  /** One service serves all of them: the first bucket in S3 is asked about. */
  #endpointChecks(): Check[] {
    const { store } = this.#settings;
    const name =
      this.#buckets.map(({ url }) => (url.kind === 's3' ? url.bucket : null)).find((one) => one !== null) ?? '';
    let answer: EndpointAnswer | null = null;
    return [
      {
        name: 'clock',
        run: async (signal) => {
          // What keeps it from answering is told of by the check of the bucket, in the words of the store.
          answer = await askEndpoint(store, name, signal).catch(() => null);
          return answer === null ? [] : [checkSkew(answer)];
        },
      },
      { name: 'region', run: () => (answer === null ? [] : [checkRegion(answer, store.region)]) },
    ];
  }

  async #each(look: (bucket: Bucket) => Promise<Result | null>, all = false): Promise<Result[]> {
    const asked = this.#buckets.filter(({ storeUrl }) => all || this.#reachable.has(storeUrl));
    const results = await Promise.all(asked.map(look));
    return results.filter((result) => result !== null);
  }

  async #reach(bucket: Bucket, signal: AbortSignal): Promise<Result> {
    const { url, storeUrl } = bucket;
    // Opening a directory as a bucket would make it one.
    if (url.kind === 'file' && !existsSync(join(url.dir, '.bucketdisk', 'bucket'))) {
      return ok(`${storeUrl} is no bucket yet: it is made one at the first start`);
    }
    const result = await checkReachable(await this.#input(bucket), signal);
    if (result.state !== 'fail') this.#reachable.add(storeUrl);
    return result;
  }

  async #input({ storeUrl, keyPrefix, volumes }: Bucket): Promise<BucketInput> {
    return {
      store: await this.#stores.controlStore(storeUrl),
      reserved: volumeKeys(keyPrefix).reserved,
      written: volumes.some(({ readOnly }) => !readOnly),
      leased: volumes.some(({ readOnly, sharedDisk }) => !readOnly && !sharedDisk),
    };
  }
}

function bucketsOf({ store, volumes }: Settings): Bucket[] {
  const byUrl = Map.groupBy(Object.values(volumes), (volume) => volumeLocation(store, volume).storeUrl);
  return [...byUrl].map(([storeUrl, inIt]) => {
    const first = inIt.find(({ readOnly }) => !readOnly) ?? inIt[0];
    const keyPrefix = first === undefined ? '' : volumeLocation(store, first).keyPrefix;
    return { storeUrl, url: parseStoreUrl(storeUrl, '/'), volumes: inIt, keyPrefix };
  });
}
