/** What several tests of a file share lasts as long as the file. */
import { after } from 'node:test';
import type { Lifetime } from '../../support/cleanup.ts';

/** To be called at the top of a test file: a hook made inside a test would end with that test. */
export function fileLifetime(): Lifetime {
  const ends: (() => void | Promise<void>)[] = [];
  after(async () => {
    for (const end of ends) await end();
  });
  return { after: (end) => void ends.push(end) };
}
