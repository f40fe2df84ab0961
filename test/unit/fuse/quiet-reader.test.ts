/** Reading without waiting and without exceptions, from a pipe in place of the device. */
import assert from 'node:assert/strict';
import { closeSync, constants, fstatSync, openSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { QuietReader } from '../../../src/fuse/quiet-reader.ts';
import { runCommand } from '../../support/run-command.ts';
import { tempDir } from '../../support/temp.ts';

const BUFFER_BYTES = 100_000;

/** Node warns once, when the first reader is made. */
const warnings: Error[] = [];
process.on('warning', (warning) => void warnings.push(warning));

async function openPipe(t: TestContext): Promise<number> {
  const path = join(await tempDir(t, 'pipe'), 'pipe');
  await runCommand('mkfifo', [path]);
  const fd = openSync(path, constants.O_RDWR | constants.O_NONBLOCK);
  t.after(() => closeSync(fd));
  return fd;
}

function openReader(fd: number, buffers = 2): QuietReader {
  const reader = QuietReader.open(fd, BUFFER_BYTES, buffers);
  assert.ok(reader !== null);
  return reader;
}

test('what is there is read, into each of the buffers, and then nothing is', async (t) => {
  const fd = await openPipe(t);
  const reader = openReader(fd);
  for (const [index, buffer] of reader.buffers.entries()) {
    assert.equal(buffer.length, BUFFER_BYTES);
    assert.equal(reader.read(buffer), 0);
    writeSync(fd, `hello ${index}`);
    assert.equal(reader.read(buffer), 7);
    assert.equal(buffer.toString('latin1', 0, 7), `hello ${index}`);
    assert.equal(reader.read(buffer), 0);
  }
  assert.equal(reader.buffers[0]?.toString('latin1', 0, 7), 'hello 0', 'the buffers do not overlap');
});

test('nothing is read into other memory, or beyond the end of a part of a buffer', async (t) => {
  const fd = await openPipe(t);
  const reader = openReader(fd);
  const [buffer] = reader.buffers;
  assert.ok(buffer !== undefined);
  writeSync(fd, 'abcdef');
  assert.equal(reader.read(Buffer.alloc(100)), 0);
  buffer.fill('.');
  assert.equal(reader.read(buffer.subarray(10, 14)), 4);
  assert.equal(buffer.toString('latin1', 8, 16), '..abcd..');
  assert.equal(reader.read(buffer), 2);
});

test('a descriptor that fails has nothing, and there is no reader of one that is closed', async (t) => {
  const path = join(await tempDir(t, 'file'), 'file');
  const fd = openSync(path, constants.O_WRONLY | constants.O_CREAT);
  const reader = openReader(fd);
  assert.equal(reader.read(reader.buffers[0] as Buffer), 0);
  closeSync(fd);
  assert.equal(reader.read(reader.buffers[0] as Buffer), 0);
  assert.equal(QuietReader.open(fd, BUFFER_BYTES, 1), null);
});

test('the descriptor stays open when the reader is forgotten', async (t) => {
  const fd = await openPipe(t);
  setFlagsFromString('--expose-gc');
  const collect = runInNewContext('gc') as () => void;
  const made = Array.from({ length: 10 }, () => new WeakRef(openReader(fd, 1)));
  for (let round = 0; round < 10 && made.some((reader) => reader.deref() !== undefined); round++) {
    await new Promise((resolve) => setImmediate(resolve));
    collect();
  }
  assert.ok(made.every((reader) => reader.deref() === undefined));
  assert.ok(fstatSync(fd).isFIFO());
});

test('nobody is warned', async () => {
  await new Promise((resolve) => setImmediate(resolve));
  assert.deepEqual(warnings, []);
});
