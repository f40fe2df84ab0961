/** What counts as healthy, and how it is told over HTTP. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { type HealthFacts, healthProblems, healthRoutes } from '../../../src/admin/health.ts';

const fine: HealthFacts = {
  phase: 'running',
  volumes: [{ name: 'media', state: 'serving', error: null }],
  fuseMounted: null,
  lostMounts: [],
};

describe('an appliance', () => {
  test('is healthy where it serves every volume, with files or without', () => {
    assert.deepEqual(healthProblems(fine), []);
    assert.deepEqual(healthProblems({ ...fine, fuseMounted: true }), []);
  });

  test('is not while a volume is not served: each is named, with what is wrong', () => {
    const volumes = [
      ...fine.volumes,
      { name: 'vault', state: 'fenced', error: { message: 'another writer has it' } },
      { name: 'tapes', state: 'opening', error: null },
    ];
    assert.deepEqual(healthProblems({ ...fine, volumes }), [
      'volume vault is fenced: another writer has it',
      'volume tapes is opening',
    ]);
  });

  test('is not once its directory has been unmounted', () => {
    assert.deepEqual(healthProblems({ ...fine, fuseMounted: false }), ['fuse.dir is not mounted']);
  });

  test('is not once somebody has unmounted a filesystem of its', () => {
    const lostMounts = [{ name: 'media', dir: '/srv/media' }];
    assert.deepEqual(healthProblems({ ...fine, lostMounts }), ['volume media is no longer mounted on /srv/media']);
    assert.deepEqual(healthProblems({ ...fine, phase: 'stopping', lostMounts }), ['the appliance is stopping']);
  });

  for (const phase of ['starting', 'stopping'] as const) {
    test(`is not while it is ${phase}, where a directory that is not mounted is as it should be`, () => {
      assert.deepEqual(healthProblems({ ...fine, phase, fuseMounted: false }), [`the appliance is ${phase}`]);
    });
  }
});

test('/healthz does not depend on what /readyz tells', async () => {
  let problems: string[] = [];
  const routes = healthRoutes(() => problems);
  const ask = async (path: string) => {
    const answer = await routes[path]?.GET?.({
      query: new URLSearchParams(),
      body: {},
      gone: new AbortController().signal,
    });
    assert.ok(answer !== undefined && 'body' in answer);
    return [answer.status, answer.body];
  };
  assert.deepEqual(await ask('/healthz'), [200, 'ok\n']);
  assert.deepEqual(await ask('/readyz'), [200, 'ok\n']);
  problems = ['one thing', 'another'];
  assert.deepEqual(await ask('/healthz'), [200, 'ok\n']);
  assert.deepEqual(await ask('/readyz'), [503, 'one thing\nanother\n']);
});
