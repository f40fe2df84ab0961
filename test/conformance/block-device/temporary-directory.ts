/** A directory for one test, removed by whoever asked for it. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

export interface TemporaryDirectory {
  readonly path: string;
  remove(): void;
}

export function temporaryDirectory(): TemporaryDirectory {
  const path = mkdtempSync(join(tmpdir(), 'bucketdisk-cached-'));
  return { path, remove: () => rmSync(path, { recursive: true, force: true }) };
}
