/** s3backer's "mounted" token: a flag object beside the blocks that says who has the volume. */
import { createHash } from 'node:crypto';
import type { ObjectStore } from '../object/object-store.ts';

const TOKEN_METADATA = 's3backer-mount-token';
/** The value that stands for "several writers at once". */
export const SHARED_DISK_TOKEN = '7fffffff';
/** What a token object without the header counts as. */
const HEADERLESS_TOKEN = '00000001';

export interface MountedToken {
  /** 8 hex digits. */
  readonly value: string;
  /** What the holder wrote about itself: its host's name and since when. */
  readonly text: string;
}

/** The token an appliance sets on a volume: always the same, so that after a crash it knows its own. */
export function tokenOf(instance: string, prefix: string): string {
  const digest = createHash('sha256').update(`${instance}\n${prefix}`).digest();
  // A positive 31-bit number that is neither the headerless nor the shared one.
  const value = 2 + (digest.readUInt32BE(0) % 0x7ffffff0);
  return value.toString(16).padStart(8, '0');
}

export async function readToken(store: ObjectStore, key: string, signal?: AbortSignal): Promise<MountedToken | null> {
  const object = await store.get(key, signal === undefined ? {} : { signal });
  if (object === null) return null;
  const value = (object.metadata[TOKEN_METADATA] ?? HEADERLESS_TOKEN).toLowerCase().padStart(8, '0');
  return { value, text: object.body.toString('utf8').trim().replaceAll(/\s+/g, ' ').slice(0, 200) };
}

/** Sets the token unconditionally, or only where there is none. */
export async function writeToken(
  store: ObjectStore,
  key: string,
  token: { readonly value: string; readonly host: string; readonly date: Date },
  options: { readonly onlyIfAbsent: boolean; readonly signal: AbortSignal },
): Promise<void> {
  const stamp = token.date.toISOString().replaceAll(/[-:]|\.\d+/g, '');
  await store.put(key, Buffer.from(`${token.host}\n${stamp}\n`), {
    headers: { contentType: 'text/plain', metadata: { [TOKEN_METADATA]: token.value } },
    signal: options.signal,
    ...(options.onlyIfAbsent ? { ifNoneMatch: '*' as const } : {}),
  });
}
