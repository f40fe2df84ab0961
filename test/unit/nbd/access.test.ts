/** Who may have an export: the first rule that is about a client decides. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { accessOf } from '../../../src/nbd/access.ts';

const client = (...names: string[]) => ({ tls: 'TLSv1.3', names });

test('without rules everybody may do everything', () => {
  assert.equal(accessOf(null, client()), 'write');
  assert.equal(accessOf(null, client('cn:nas')), 'write');
});

test('with rules nobody may do anything but those they name', () => {
  const rules = [
    { client: 'cn:nas', readOnly: false },
    { client: 'psk:alice', readOnly: true },
  ];
  assert.equal(accessOf(rules, client()), 'none');
  assert.equal(accessOf(rules, client('cn:nas')), 'write');
  assert.equal(accessOf(rules, client('psk:alice')), 'read');
  for (const name of ['cn:NAS', 'dns:nas', 'cn:nas2', 'cn:na', 'psk:nas', 'nas', 'anyone']) {
    assert.equal(accessOf(rules, client(name)), 'none', name);
  }
  assert.equal(accessOf([], client('cn:nas')), 'none');
});

test('the first that is about the client decides, whichever of its names that is', () => {
  const rules = [
    { client: 'cn:old', readOnly: true },
    { client: 'dns:nas.example', readOnly: false },
    { client: 'anyone', readOnly: true },
  ];
  assert.equal(accessOf(rules, client('dns:nas.example', 'cn:old')), 'read');
  assert.equal(accessOf(rules, client('cn:new', 'dns:nas.example')), 'write');
  assert.equal(accessOf(rules, client('cn:stranger')), 'read');
  assert.equal(accessOf(rules, { tls: null, names: [] }), 'read');
});

test('a name is never taken for a word of the list', () => {
  assert.equal(accessOf([{ client: 'cn:x', readOnly: false }], client('anyone')), 'none');
  assert.equal(accessOf([{ client: 'socket', readOnly: false }], client('cn:socket')), 'none');
});
