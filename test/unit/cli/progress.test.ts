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
    assert.deepEqual(written, [
      'erasing demo: 10 objects, 1 objects/s\n',
      'erasing demo: 20 of 100 objects (20%), 1 objects/s, 1 m 20 s left\n',
    ]);
  });

  it('tells the rate of the newest while, and what is left at it', () => {
    const { written, clock, progress } = printer(true);
    const MIB = 2 ** 20;
    for (clock.ms = 0; clock.ms <= 60_000; clock.ms += 1000) {
      // Quick for 30 s, then slow.
      const done = clock.ms <= 30_000 ? clock.ms * 0.01 * MIB : (300 + (clock.ms - 30_000) * 0.001) * MIB;
      progress.show({ unit: 'bytes', done, total: 1024 * MIB });
    }
    assert.match(written[2] ?? '', / 20(\.0)? MiB of 1(\.00)? GiB \(1%\), 10(\.0)? MiB\/s, 1 m 40 s left$/);
    assert.match(written.at(-1) ?? '', / 330 MiB of 1(\.00)? GiB \(32%\), 1(\.00)? MiB\/s, 11 m 34 s left$/);
  });

  it('shows that time passes where nothing can be counted, and keeps to the width of the terminal', () => {
    const { written, clock, progress } = printer(false);
    for (clock.ms = 0; clock.ms <= 10_000; clock.ms += 1000) progress.tick();
    assert.deepEqual(written, ['erasing demo: 10 s so far\n']);
    // What it says is worth more than the bar.
    const narrow: string[] = [];
    for (const columns of [50, 40, 20]) {
      const output = { isTTY: true, columns, write: (text: string) => narrow.push(text) };
      new ProgressPrinter(output, 'erasing demo', () => 0).show({ unit: 'objects', done: 1, total: 2 });
    }
    assert.deepEqual(narrow, [
      `\r\x1b[Kerasing demo [${'='.repeat(6)}${' '.repeat(7)}] 1 of 2 objects (50%)`,
      '\r\x1b[Kerasing demo 1 of 2 objects (50%)',
      '\r\x1b[Kerasing demo 1 of 2',
    ]);
  });

  it('tells bytes as sizes whatever they are of, and what is to be told beside them', () => {
    const { written, clock, progress } = printer(true);
    const MIB = 2 ** 20;
    // Thousands of keys a second say nothing of the bytes that come after them.
    for (clock.ms = 0; clock.ms < 5000; clock.ms += 1000) {
      progress.show({ unit: 'keys', done: clock.ms, total: null });
    }
    progress.show({ unit: 'bytes of the cache', done: 20 * MIB, total: 100 * MIB });
    assert.match(written.at(-1) ?? '', /\] 20 MiB of 100 MiB of the cache \(20%\)$/);
    clock.ms += 2000;
    progress.show({ unit: 'bytes of the cache', done: 60 * MIB, total: 100 * MIB, note: '1 finding' });
    assert.match(written.at(-1) ?? '', / 60 MiB of 100 MiB of the cache \(60%\), 20 MiB\/s, 2 s left, 1 finding$/);
  });

  it('is whole on a terminal that does not know how wide it is', () => {
    const written: string[] = [];
    const output = { isTTY: true, columns: 0, write: (text: string) => written.push(text) };
    new ProgressPrinter(output, 'warming demo', () => 0).show({ unit: 'objects', done: 1, total: 2 });
    assert.match(written[0] ?? '', /warming demo \[=+ +\] 1 of 2 objects \(50%\)$/);
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
