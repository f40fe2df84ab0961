/** Checks where the credentials of the store come from, and until when they are good. */
import type { StoreSettings } from '../../config/settings.ts';
import { approximateDuration } from '../../lib/units.ts';
import { fail, ok, type Result, warn } from '../finding.ts';

/** What the SDK's chain has found. */
export interface FoundCredentials {
  readonly accessKeyId: string;
  readonly expiresAt: Date | null;
  /** The SDK's names of the ways it went: `CREDENTIALS_ENV_VARS`. */
  readonly ways: readonly string[];
}

export interface CredentialsInput {
  readonly store: Pick<StoreSettings, 'url' | 'credentials' | 'profile' | 'anonymous'>;
  /** Whether any volume is in S3. */
  readonly usesS3: boolean;
  /** Where `store.accessKeyId` was set. */
  readonly configuredIn: string;
  readonly now: Date;
  /** Asks the chain; rejects where it finds none. */
  readonly find: (signal: AbortSignal) => Promise<FoundCredentials>;
}

const EXPIRES_SOON_MS = 60 * 60_000;
/** Credentials of these ways are renewed by themselves. */
const RENEWING = /IMDS|HTTP|RELATIVE_URI|FULL_URI|STS|SSO|PROCESS|LOGIN/;

const WAYS: Readonly<Record<string, string>> = {
  CREDENTIALS_ENV_VARS: 'the environment (AWS_ACCESS_KEY_ID)',
  CREDENTIALS_ENV_VARS_STS_WEB_ID_TOKEN: 'a web identity (AWS_WEB_IDENTITY_TOKEN_FILE)',
  CREDENTIALS_PROFILE: 'a profile of the shared AWS files',
  CREDENTIALS_PROFILE_PROCESS: "a profile's credential_process",
  CREDENTIALS_PROFILE_SSO: 'a profile with single sign-on',
  CREDENTIALS_PROFILE_SSO_LEGACY: 'a profile with single sign-on',
  CREDENTIALS_PROFILE_STS_WEB_ID_TOKEN: 'a profile with a web identity',
  CREDENTIALS_PROFILE_SOURCE_PROFILE: 'a profile that assumes a role',
  CREDENTIALS_HTTP: 'the container (AWS_CONTAINER_CREDENTIALS_*)',
  CREDENTIALS_IMDS: "the instance's role (IMDS)",
};

export async function checkCredentials(input: CredentialsInput, signal: AbortSignal): Promise<Result[]> {
  const { store, usesS3, configuredIn } = input;
  if (!usesS3) return [ok('none are needed: no volume is in S3')];
  if (store.anonymous) return [ok('none: requests are not signed (store.anonymous)')];
  if (store.credentials !== null) {
    return [ok(`access key ${masked(store.credentials.accessKeyId)}, from ${configuredIn}`)];
  }
  let found: FoundCredentials;
  try {
    found = await input.find(signal);
  } catch {
    const where =
      store.profile === null
        ? 'the environment, the shared files and instance roles were asked'
        : `profile "${store.profile}" has none`;
    return [
      fail(
        `no credentials were found: ${where}`,
        'set store.accessKeyId and store.secretAccessKey (or their File twins), AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, store.profile, or store.anonymous',
      ),
    ];
  }
  return [foundResult(found, input.now)];
}

function foundResult({ accessKeyId, expiresAt, ways }: FoundCredentials, now: Date): Result {
  const from = ways.map((way) => WAYS[way]).find((way) => way !== undefined) ?? "the SDK's chain";
  const what = `access key ${masked(accessKeyId)}, from ${from}`;
  if (expiresAt === null) return ok(what);
  const leftMs = expiresAt.getTime() - now.getTime();
  if (leftMs <= 0) return fail(`${what}, has expired at ${expiresAt.toISOString()}`, 'give new ones');
  const left = `${what}, for another ${approximateDuration(leftMs)}`;
  if (leftMs < EXPIRES_SOON_MS && !ways.some((way) => RENEWING.test(way))) {
    return warn(`${left}: they are not renewed by themselves`, 'give new ones in time, or a source that renews them');
  }
  return ok(left);
}

/** The end of it tells one key from another. */
function masked(accessKeyId: string): string {
  return accessKeyId.length > 8 ? `...${accessKeyId.slice(-4)}` : '***';
}
