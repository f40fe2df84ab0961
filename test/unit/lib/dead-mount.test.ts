/** What a dead mount is told by. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { tellsDeath } from '../../../src/lib/dead-mount.ts';

const said = (path: string, reason: string): string =>
  `stat: cannot read file system information for '${path}': ${reason}`;

for (const reason of [
  'Transport endpoint is not connected',
  'Software caused connection abort',
  'Socket not connected',
  'Connection aborted',
]) {
  test(`"${reason}" tells of a dead mount`, () => assert.ok(tellsDeath(said("/srv/it's: here", reason))));
}

for (const path of ['/srv/not connected', '/srv/a: not connected', '/srv/connection abort']) {
  test(`that ${path} cannot be looked at for another reason does not`, () => {
    for (const reason of ['Permission denied', 'Input/output error', 'No such file or directory']) {
      assert.ok(!tellsDeath(said(path, reason)));
    }
  });
}
