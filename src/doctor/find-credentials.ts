/** What the SDK's own chain of credentials finds, and which way it went. */
import { fromNodeProviderChain } from '@aws-sdk/credential-providers';
import type { FoundCredentials } from './checks/credentials.ts';

/** Where the SDK notes the ways, for its user agent. */
interface Noted {
  readonly $source?: Readonly<Record<string, string>>;
}

/** Rejects where there are none, with an error of the SDK's. */
export async function findCredentials(profile: string | null): Promise<FoundCredentials> {
  const chain = fromNodeProviderChain(profile === null ? {} : { profile });
  const found: Awaited<ReturnType<typeof chain>> & Noted = await chain();
  return {
    accessKeyId: found.accessKeyId,
    expiresAt: found.expiration ?? null,
    ways: Object.keys(found.$source ?? {}),
  };
}
