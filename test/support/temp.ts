/** Directories that last as long as a test. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Lifetime, onEnd } from './cleanup.ts';

/** A new directory, removed with all it holds when the test ends. Its path is short enough for a unix socket in it. */
export async function tempDir(lifetime: Lifetime, name = 'test'): Promise<string> {
  const dir = await mkdtemp(join(tmpdir(), `bucketdisk-${name}-`));
  onEnd(lifetime, () => rm(dir, { recursive: true, force: true, maxRetries: 3 }));
  return dir;
}
