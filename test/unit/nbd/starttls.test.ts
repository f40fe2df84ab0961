/** That nothing said before STARTTLS is of any weight after it, whatever it was: by comparison with a conversation without it. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { silentLog } from '../../../src/lib/log.ts';
import { Option } from '../../../src/nbd/constants.ts';
import { type ClientIdentity, type ExportTable, NOBODY } from '../../../src/nbd/exports.ts';
import { InFlightBudget, SharedBudget } from '../../../src/nbd/in-flight-budget.ts';
import { PayloadPool } from '../../../src/nbd/payload-pool.ts';
import { ReplyQueue, SlabPool } from '../../../src/nbd/reply-queue.ts';
import { Session } from '../../../src/nbd/session.ts';
import { Turn } from '../../../src/nbd/turns.ts';
import { MemoryDevice } from '../../conformance/nbd/memory-device.ts';
import {
  clientFlagsBytes,
  infoData,
  metaContextData,
  optionBytes,
  requestBytes,
} from '../../conformance/nbd/raw-client.ts';

const ALICE: ClientIdentity = { tls: 'TLSv1.3', names: ['psk:alice'] };

/** Exports that are there for some: `hidden` for Alice, `disk` for everybody. */
function tableFor(device: MemoryDevice): ExportTable {
  const all = ['disk', 'hidden'].map((name) => ({ name, description: '', device }));
  const list: ExportTable['list'] = ({ names }) => (names.includes('psk:alice') ? all : all.slice(0, 1));
  return { list, find: (name, client) => list(client).find((one) => one.name === (name || 'disk')) };
}

function converse(tls: 'offered' | 'required') {
  const device = new MemoryDevice(8192);
  const replies = new ReplyQueue(new SlabPool(4));
  const turn = new Turn();
  const session = new Session({
    exports: tableFor(device),
    client: NOBODY,
    tls,
    limits: { inFlightRequestsMax: 10, unsentBytesMax: Number.POSITIVE_INFINITY },
    replies,
    budget: new InFlightBudget(new SharedBudget(2 ** 40), 2 ** 40, () => {}),
    payloads: new PayloadPool(0),
    turn,
    onNegotiated: () => {},
    onProgress: () => {},
    log: silentLog,
  });
  const output = (): Buffer => {
    const bytes = Buffer.concat(replies.nextBatch(Number.POSITIVE_INFINITY));
    replies.written();
    return bytes;
  };
  const feed = (bytes: Buffer): void => {
    while (turn.isOver) turn.next();
    session.feed(bytes, 0, bytes.length);
  };
  return { session, feed, output };
}

const names = fc.constantFrom('disk', 'hidden', '', 'nosuch');
/** Options that leave a client in the handshake. */
const option = fc.oneof(
  fc.constant(optionBytes(Option.STRUCTURED_REPLY)),
  fc.constant(optionBytes(Option.EXTENDED_HEADERS)),
  fc.constant(optionBytes(Option.LIST)),
  fc.constant(optionBytes(Option.STARTTLS, Buffer.from('x'))),
  names.map((name) => optionBytes(Option.INFO, infoData(name, [1, 2, 3]))),
  names.map((name) => optionBytes(Option.SET_META_CONTEXT, metaContextData(name, ['base:allocation']))),
  names.map((name) => optionBytes(Option.LIST_META_CONTEXT, metaContextData(name, []))),
  fc.integer({ min: 20, max: 2 ** 32 - 1 }).map((unknown) => optionBytes(unknown, Buffer.alloc(20, 1))),
  fc.uint8Array({ maxLength: 40 }).map((data) => optionBytes(Option.INFO, Buffer.from(data))),
);
const requests = Buffer.concat([
  requestBytes({ type: 0, cookie: 5n, length: 512 }),
  requestBytes({ type: 7, cookie: 6n, length: 4096 }),
]);
const ending = fc.oneof(
  names.map((name) => Buffer.concat([optionBytes(Option.GO, infoData(name)), requests])),
  names.map((name) => Buffer.concat([optionBytes(Option.EXPORT_NAME, Buffer.from(name)), requests])),
);

test('a conversation after STARTTLS is the same whatever came before it', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.constantFrom('offered' as const, 'required' as const),
      fc.constantFrom(1, 3),
      fc.array(option, { maxLength: 6 }),
      fc.array(option, { maxLength: 6 }),
      ending,
      async (tls, flags, before, after, end) => {
        const outputs: string[] = [];
        for (const prelude of [before, []]) {
          const { session, feed, output } = converse(tls);
          feed(clientFlagsBytes(flags));
          for (const bytes of prelude) feed(bytes);
          feed(optionBytes(Option.STARTTLS));
          assert.equal(session.startsTls, true);
          output();
          session.secured(ALICE);
          for (const bytes of [...after, end]) feed(bytes);
          // Block status is answered by a promise.
          await new Promise((resolve) => setImmediate(resolve));
          outputs.push(output().toString('hex'));
        }
        assert.equal(outputs[0], outputs[1]);
      },
    ),
    { numRuns: 300 },
  );
});

test('before it nothing of what is required to be secret is told', () => {
  fc.assert(
    fc.property(fc.array(option, { maxLength: 8 }), (options) => {
      const { feed, output } = converse('required');
      feed(clientFlagsBytes(3));
      output();
      for (const bytes of options) feed(bytes);
      assert.doesNotMatch(output().toString('latin1'), /disk|hidden|base/);
    }),
  );
});

test('what was not encrypted has not the exports that are for somebody', () => {
  const { session, feed, output } = converse('offered');
  feed(clientFlagsBytes(3));
  feed(optionBytes(Option.LIST));
  assert.doesNotMatch(output().toString('latin1'), /hidden/);
  feed(optionBytes(Option.STARTTLS));
  output();
  session.secured(ALICE);
  feed(optionBytes(Option.LIST));
  assert.match(output().toString('latin1'), /hidden/);
});

test('a session is not encrypted without having been asked', () => {
  const { session, feed } = converse('offered');
  assert.throws(() => session.secured(ALICE), /nobody asked/);
  feed(clientFlagsBytes(3));
  feed(optionBytes(Option.STARTTLS));
  session.secured(ALICE);
  assert.throws(() => session.secured(ALICE), /nobody asked/);
});

test('nothing is taken between STARTTLS and its end', () => {
  const { session, feed, output } = converse('offered');
  feed(clientFlagsBytes(3));
  feed(optionBytes(Option.STARTTLS));
  output();
  feed(optionBytes(Option.LIST));
  assert.equal(session.ended, true);
  assert.equal(output().length, 0);
  assert.throws(() => session.secured(ALICE));
});
