/** Lines on their way to the disk: those that lie one behind the other in one write, all others each in its own. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { PAGE_BYTES } from '../../../../src/cache/page.ts';
import { LINE_BYTES, LINE_PAGES } from '../../../../src/cache/read-cache/geometry.ts';
import { LineWriter, type PageWrite } from '../../../../src/cache/read-cache/line-writer.ts';
import type { DiskFile } from '../../../../src/lib/disk.ts';
import { settle } from '../../../support/virtual-clock.ts';

interface Bench {
  readonly writer: LineWriter;
  /** What the disk was given: bytes, and from which line on. */
  readonly writes: { readonly length: number; readonly line: number; readonly end: PromiseWithResolvers<void> }[];
  readonly written: number[];
  readonly ended: number[];
  readonly idle: number[];
  readonly failures: unknown[];
  add(slot: number, data: Buffer, from?: number): void;
}

function bench(): Bench {
  const writes: Bench['writes'] = [];
  const [written, ended, idle, failures]: [number[], number[], number[], unknown[]] = [[], [], [], []];
  const file = {
    write: (source: Buffer, position: number): Promise<void> => {
      const end = Promise.withResolvers<void>();
      writes.push({ length: source.length, line: position / LINE_BYTES, end });
      return end.promise;
    },
  } as DiskFile;
  const writer = new LineWriter({
    file,
    onWritten: ({ slot }) => written.push(slot),
    onFailed: (error) => failures.push(error),
    onIdle: (slot) => idle.push(slot),
  });
  const add = (slot: number, data: Buffer, from = 0): void => {
    const write: PageWrite = { slot, from, data, wanted: (1 << LINE_PAGES) - 1, ended: () => ended.push(slot) };
    writer.add(write);
  };
  return { writer, writes, written, ended, idle, failures, add };
}

function linesOf(data: Buffer): Buffer[] {
  return Array.from({ length: Math.ceil(data.length / LINE_BYTES) }, (_, line) =>
    data.subarray(line * LINE_BYTES, (line + 1) * LINE_BYTES),
  );
}

test('lines of one piece of memory for slots in a row are one write, and each of them ends', async () => {
  const { writer, writes, written, ended, idle, add } = bench();
  for (const [index, line] of linesOf(Buffer.alloc(5 * LINE_BYTES - PAGE_BYTES)).entries()) add(10 + index, line);
  writer.start();
  assert.deepEqual(
    writes.map(({ length, line }) => [length, line]),
    [[5 * LINE_BYTES - PAGE_BYTES, 10]],
  );
  assert.ok([10, 12, 14].every((slot) => writer.isBusy(slot)));
  writes[0]?.end.resolve();
  await writer.idle();
  for (const list of [written, ended, idle]) assert.deepEqual(list, [10, 11, 12, 13, 14]);
});

test('no more than a MiB at once, two at a time', () => {
  const { writer, writes, add } = bench();
  for (const [index, line] of linesOf(Buffer.alloc(40 * LINE_BYTES)).entries()) add(index, line);
  writer.start();
  assert.deepEqual(
    writes.map(({ length, line }) => [length / LINE_BYTES, line]),
    [
      [16, 0],
      [16, 16],
    ],
  );
});

test('what lies elsewhere, in memory or in the file, or is wanted no more is not written with the others', async () => {
  const data = Buffer.alloc(4 * LINE_BYTES);
  const [first, second, third] = linesOf(data) as [Buffer, Buffer, Buffer];
  const cases: readonly (readonly [string, (one: Bench) => void])[] = [
    ['other memory', ({ add }) => void [add(0, first), add(1, Buffer.alloc(LINE_BYTES))]],
    ['a gap in memory', ({ add }) => void [add(0, first), add(1, third)]],
    ['a gap in the file', ({ add }) => void [add(0, first), add(2, second)]],
    ['slots that go back', ({ add }) => void [add(1, first), add(0, second)]],
    ['a part of a line', ({ add }) => void [add(0, first.subarray(PAGE_BYTES)), add(1, second)]],
    ['not from its begin', ({ add }) => void [add(0, first), add(1, second.subarray(PAGE_BYTES), 1)]],
    [
      'cancelled',
      ({ add, writer }) => {
        add(0, first);
        add(1, second);
        add(2, third);
        writer.cancel(1, (1 << LINE_PAGES) - 1);
      },
    ],
  ];
  for (const [name, fill] of cases) {
    const one = bench();
    fill(one);
    one.writer.start();
    assert.equal(one.writes.length, 2, name);
    for (const { end } of one.writes) end.resolve();
    await one.writer.idle();
    assert.equal(new Set(one.ended).size, one.ended.length, name);
  }
});

test('a slot that is being written is written again only after that', async () => {
  const { writer, writes, ended, add } = bench();
  const [first, second] = linesOf(Buffer.alloc(2 * LINE_BYTES)) as [Buffer, Buffer];
  add(1, Buffer.alloc(LINE_BYTES));
  writer.start();
  add(0, first);
  add(1, second);
  writer.start();
  assert.deepEqual(
    writes.map(({ line }) => line),
    [1, 0],
  );
  writes[1]?.end.resolve();
  await settle();
  assert.equal(writes.length, 2);
  writes[0]?.end.resolve();
  await settle();
  assert.equal(writes.length, 3);
  writes[2]?.end.resolve();
  await writer.idle();
  assert.deepEqual(ended, [0, 1, 1]);
});

test('where a write fails nothing of it is there, what waits is not tried, and all of it ends', async () => {
  const { writer, writes, written, ended, failures, add } = bench();
  const data = Buffer.alloc(40 * LINE_BYTES);
  for (const [index, line] of linesOf(data).entries()) add(index, line);
  writer.start();
  writes[0]?.end.reject(new Error('the disk fails'));
  await settle();
  writes[1]?.end.resolve();
  await writer.idle();
  assert.equal(writes.length, 2);
  assert.equal(failures.length, 1);
  assert.deepEqual(
    written,
    Array.from({ length: 16 }, (_, index) => 16 + index),
  );
  assert.equal(new Set(ended).size, 40);
});
