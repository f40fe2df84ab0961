/** Progress: a bar on a terminal, elsewhere a line every 10 s. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { ProgressPrinter } from '../../../src/cli/progress.ts';

function printer(isTTY: boolean) {
  const written: string[] = [];
  const clock = { ms: 0 };
  const output = { isTTY, write: (text: string) => written.push(text) };
  return { written, clock, progress: new ProgressPrinter(output, 'erasing demo', () => clock.ms) };
}

describe('ProgressPrinter', () => {
  it('writes a line every 10 s where nobody watches, and none about what is quick', () => {
    const { written, clock, progress } = printer(false);
    for (clock.ms = 0; clock.ms <= 25_000; clock.ms += 1000) {
      progress.show({ unit: 'objects', done: clock.ms / 1000, total: clock.ms < 15_000 ? null : 100 });
    }
    progress.end();
    assert.deepEqual(written, ['erasing demo: 10 objects\n', 'erasing demo: 20 of 100 objects (20%)\n']);
  });

  it('draws a bar on a terminal, not too often, and takes it away', () => {
    const { written, clock, progress } = printer(true);
    progress.show({ unit: 'objects', done: 1, total: 2 });
    progress.show({ unit: 'objects', done: 2, total: 2 });
    clock.ms = 100;
    progress.show({ unit: 'objects', done: 999, total: 1000 });
    progress.end();
    progress.end();
    assert.deepEqual(written, [
      `\r\x1b[Kerasing demo [${'='.repeat(15)}${' '.repeat(15)}] 1 of 2 objects (50%)`,
      `\r\x1b[Kerasing demo [${'='.repeat(29)} ] 999 of 1000 objects (99%)`,
      '\r\x1b[K',
    ]);
  });
});
