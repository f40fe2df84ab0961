/** The model that disks are held against after a crash: it must take what may be, and find what may not. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { DiskModel } from '../../interop/support/disk-model.ts';

const FIRST = 1;
const SECOND = 2;
const AFTER = 9;

function newModel(): DiskModel {
  return new DiskModel(4, { answeredIsDurable: false });
}

/** A write of one sector. Returns its value. */
function write(
  model: DiskModel,
  connection: number,
  sector: number,
  options: { fua?: boolean; answered?: boolean } = {},
): number {
  const { fua = false, answered = true } = options;
  const operation = model.beginWrite(connection, sector, 1, 'write', { zeroes: false, fua });
  if (answered) model.endWrite(operation, true);
  return operation.value;
}

function flush(model: DiskModel, connection: number): void {
  model.endFlush(model.beginFlush(connection));
}

function holds(model: DiskModel, sector: number, value: number, connection = AFTER): void {
  const read = model.beginRead(connection, sector, 1);
  model.settle(read, () => value);
}

const never = { message: /it may not/ };

test('what was flushed is there after a crash, or something later', () => {
  for (const survivor of [1, 2, 3]) {
    const model = newModel();
    const older = write(model, FIRST, 0);
    const flushed = write(model, FIRST, 0);
    flush(model, FIRST);
    const later = write(model, FIRST, 0);
    model.crash();
    const value = [older, flushed, later][survivor - 1] as number;
    if (survivor === 1) assert.throws(() => holds(model, 0, value), never);
    else holds(model, 0, value);
  }
});

test('what was answered and not flushed may be gone, but not while the process lives', () => {
  const model = newModel();
  const value = write(model, FIRST, 0);
  assert.throws(() => holds(model, 0, 0), never);
  assert.equal(model.volatileWrites, 1);
  model.crash();
  holds(model, 0, 0);
  // That has been seen now: it does not come back.
  assert.throws(() => holds(model, 0, value), never);
});

test('a flush on one connection is about what was answered on any', () => {
  const model = newModel();
  write(model, FIRST, 0);
  const unanswered = write(model, FIRST, 1, { answered: false });
  const sent = write(model, SECOND, 2, { answered: false });
  flush(model, SECOND);
  assert.equal(model.volatileWrites, 0);
  model.crash();
  assert.throws(() => holds(model, 0, 0), never);
  assert.throws(() => holds(model, 2, 0), never);
  holds(model, 2, sent);
  holds(model, 1, unanswered);
});

test('a write that asks to be durable takes what was before it along', () => {
  const model = newModel();
  const before = write(model, FIRST, 0);
  write(model, SECOND, 1, { fua: true });
  model.crash();
  assert.throws(() => holds(model, 0, 0), never);
  assert.throws(() => holds(model, 1, 0), never);
  holds(model, 0, before);
});

test('a flush that was not answered, or answered with an error, promises nothing', () => {
  const model = newModel();
  write(model, FIRST, 0);
  model.beginFlush(FIRST);
  const failed = model.beginWrite(FIRST, 1, 1, 'write', { zeroes: false, fua: true });
  model.endWrite(failed, false);
  model.crash();
  holds(model, 0, 0);
  holds(model, 1, failed.value);
});

test('what a crash has left is durable: it does not go in the next one', () => {
  const model = newModel();
  const value = write(model, FIRST, 0);
  model.crash();
  holds(model, 0, value);
  write(model, FIRST, 1);
  model.crash();
  assert.throws(() => holds(model, 0, 0), never);
  holds(model, 0, value);
});

test('what was seen and not flushed may be gone after a crash, with what it had replaced back again', () => {
  const model = newModel();
  const flushed = write(model, FIRST, 0);
  flush(model, FIRST);
  const value = write(model, FIRST, 0);
  holds(model, 0, value, SECOND);
  assert.throws(() => holds(model, 0, flushed, SECOND), never);
  model.crash();
  holds(model, 0, flushed);
});

test('however often a sector is written between flushes, the flushed value is not forgotten', () => {
  const model = newModel();
  const flushed = write(model, FIRST, 0);
  flush(model, FIRST);
  for (let count = 0; count < 50; count++) write(model, FIRST, 0);
  model.crash();
  holds(model, 0, flushed);
});

test('where an answer means durable, nothing that was answered may be gone', () => {
  const model = new DiskModel(4);
  const value = write(model, FIRST, 0);
  model.crash();
  assert.throws(() => holds(model, 0, 0), never);
  holds(model, 0, value);
});

test('of two zeroings the one that was written over is not taken for the one that is there', () => {
  const model = newModel();
  const slow = model.beginWrite(FIRST, 0, 1, 'trim', { zeroes: true });
  const quick = model.beginWrite(SECOND, 0, 1, 'zero', { zeroes: true });
  model.endWrite(quick, true);
  write(model, SECOND, 0, { fua: true });
  model.endWrite(slow, true);
  holds(model, 0, 0);
  holds(model, 0, 0);
});
