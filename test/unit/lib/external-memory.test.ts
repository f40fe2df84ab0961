/** What it is for, in processes of their own: buffers that come and go do not have the heap collected over and over. */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { test } from 'node:test';
import { promisify } from 'node:util';
import { weighExternalMemory } from '../../../src/lib/external-memory.ts';

const MODULE = new URL('../../../src/lib/external-memory.ts', import.meta.url).href;

/** Collections of the whole heap while 2 GiB of buffers come and go beside a heap like that of an appliance. */
async function majorCollections(before: string): Promise<number> {
  const script = `
    import { constants, PerformanceObserver } from 'node:perf_hooks';
    import { weighExternalMemory } from '${MODULE}';
    ${before}
    const kept = Array.from({ length: 200_000 }, (_, index) => ({ index }));
    let major = 0;
    const observer = new PerformanceObserver((list) => {
      for (const { detail } of list.getEntries()) if (detail.kind === constants.NODE_PERFORMANCE_GC_MAJOR) major++;
    });
    observer.observe({ entryTypes: ['gc'] });
    for (let i = 0; i < 2048; i++) {
      Buffer.allocUnsafeSlow(1024 * 1024);
      if (i % 8 === 0) await new Promise((resolve) => setImmediate(resolve));
    }
    await new Promise((resolve) => setTimeout(resolve, 50));
    process.stdout.write(String(major + 0 * kept.length));
  `;
  const { stdout } = await promisify(execFile)(process.execPath, ['--input-type=module', '--eval', script]);
  return Number(stdout);
}

test('buffers that come and go have the heap collected much more seldom', {
  skip: !/^13\./.test(process.versions.v8) && 'this V8 does so by itself',
}, async () => {
  const [told, untold] = await Promise.all([majorCollections('weighExternalMemory();'), majorCollections('')]);
  assert.ok(untold >= 8, `${untold} without`);
  assert.ok(told * 2 <= untold, `${told} with it, ${untold} without`);
});

test('a V8 that does so by itself, and may not know the flag, is not told', () => {
  assert.equal(weighExternalMemory('14.6.202.34-node.21'), false);
});
