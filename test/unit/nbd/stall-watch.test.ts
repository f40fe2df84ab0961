/** When a peer counts as not getting on. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Activity, StallWatch } from '../../../src/nbd/stall-watch.ts';

const IDLE: Activity = { requests: 1, bytesReceived: 1000, bytesSent: 1000, midPayload: false, unsent: false };

function look(...activities: Partial<Activity>[]): string | null {
  const watch = new StallWatch(100);
  return activities.map((activity) => watch.look({ ...IDLE, ...activity })).at(-1) ?? null;
}

test('who owes nothing may be idle for ever', () => {
  assert.equal(look({}, {}, {}), null);
});

test('who leaves its replies unread is given up, who reads some of them is not', () => {
  assert.match(look({ unsent: true }, { unsent: true }) ?? '', /does not read its replies/);
  assert.equal(look({ unsent: true }, { unsent: true, bytesSent: 1001 }), null);
  assert.equal(look({ unsent: false }, { unsent: true }), null);
});

test('who leaves a payload unfinished is given up, also where it drips', () => {
  const payload = { midPayload: true };
  assert.match(look(payload, payload) ?? '', /does not finish the payload/);
  assert.match(look(payload, { ...payload, bytesReceived: 1099 }) ?? '', /does not finish the payload/);
  assert.equal(look(payload, { ...payload, bytesReceived: 1100 }), null);
  assert.equal(look(payload, { ...payload, requests: 2 }), null, 'another payload by now');
});
