/** Which lines of the log are events, and what is kept of them. */
import assert from 'node:assert/strict';
import { Writable } from 'node:stream';
import { describe, test } from 'node:test';
import type { ApplianceEvent } from '../../../src/events/event.ts';
import { EventLog } from '../../../src/events/event-log.ts';
import { LogWatch } from '../../../src/events/log-watch.ts';
import { createLogger } from '../../../src/telemetry/logger.ts';
import { LogBook } from '../volume/fixtures.ts';

function tapped(level: 'error' | 'info' = 'info') {
  const events = new EventLog();
  const written: string[] = [];
  const stream = new Writable({
    write(chunk, _encoding, done) {
      written.push(String(chunk));
      done();
    },
  });
  const log = createLogger({ level, format: 'json', stream, secrets: ['hunter2hunter2'] });
  log.tap((entry) => events.note(entry));
  return { events, log, written };
}

describe('EventLog', () => {
  test('keeps the lines whose event has a name of ours, with the fields of their logger', () => {
    const { events, log } = tapped();
    log.child({ volume: 'media' }).warn('it fills up', { event: 'log-filling', usedBytes: 9 });
    log.info('not an event');
    log.info('an event of somebody else', { event: 'admin' });
    log.debug('nor this', { event: 'log-filling' });
    const [event, ...others] = events.recent();
    assert.deepEqual(others, []);
    assert.ok(!Number.isNaN(Date.parse(event?.at ?? '')));
    assert.deepEqual(
      { ...event, at: '' },
      { at: '', name: 'log-filling', level: 'warn', volume: 'media', message: 'it fills up', fields: { usedBytes: 9 } },
    );
  });

  test('has them also where the log does not, and without their secrets', async () => {
    const { events, log, written } = tapped('error');
    log.info('the password is hunter2hunter2', { event: 'report', error: new Error('hunter2hunter2') });
    await log.close();
    assert.equal(written.join(''), '');
    assert.equal(events.recent().length, 1);
    assert.ok(!JSON.stringify(events.recent()).includes('hunter2'));
  });

  test('forgets the oldest, and keeps no endless text', () => {
    const { events, log } = tapped('error');
    for (let number = 0; number < 250; number++) log.info('x', { event: 'report', number, text: 'y'.repeat(5000) });
    const recent = events.recent();
    assert.equal(recent.length, 100);
    assert.equal(recent[0]?.fields.number, 150);
    assert.ok(String(recent[0]?.fields.text).length < 600);
  });

  test('tells those who listen until they do not want to hear more', () => {
    const { events, log } = tapped('error');
    const heard: ApplianceEvent[] = [];
    const end = events.subscribe((event) => heard.push(event));
    log.info('one', { event: 'report' });
    end();
    log.info('two', { event: 'report' });
    assert.deepEqual(
      heard.map(({ message }) => message),
      ['one'],
    );
  });
});

test('a log that fills up and is relieved is told of once each time, however it wavers', () => {
  const book = new LogBook();
  const watch = new LogWatch(book);
  for (const usedBytes of [10, 79, 81, 95, 79, 81, 71, 100, 69, 10, 85]) {
    watch.note({ volume: 'media', usedBytes, sizeBytes: 100 });
  }
  assert.deepEqual(
    book.lines.map(({ fields }) => [fields.event, fields.usedBytes]),
    [
      ['log-filling', 81],
      ['log-relieved', 69],
      ['log-filling', 85],
    ],
  );
});
