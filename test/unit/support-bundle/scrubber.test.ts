/** What leaves the machine has no secret in it, in whatever spelling. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isSecretPath, scrubber } from '../../../src/support/scrubber.ts';

test('known secrets are taken out in every spelling they travel in', () => {
  const secret = 'pa/ss+w"ord é&1';
  const scrub = scrubber([secret, 'tiny', 'abc']);
  const spellings = [
    secret,
    JSON.stringify({ secret }),
    encodeURIComponent(secret),
    encodeURI(secret),
    Buffer.from(secret).toString('base64'),
    Buffer.from(secret).toString('base64url'),
    Buffer.from(secret).toString('hex'),
  ];
  for (const spelling of spellings) {
    const text = scrub(`before ${spelling} after`);
    assert.match(text, /^before .*\*\*\*.* after$/);
    assert.ok(!text.includes(spelling), spelling);
  }
  assert.equal(scrub('a tiny word, abc'), 'a *** word, abc', 'three characters are in every other word');
});

test('a secret within another leaves nothing behind', () => {
  assert.equal(scrubber(['secret', 'secret-longer'])('x secret-longer y secret z'), 'x *** y *** z');
});

test('what looks like a secret is taken out though nobody knows it', () => {
  const scrub = scrubber([]);
  for (const [text, expected] of [
    ['proxy http://user:pass@proxy.example:3128/x', 'proxy http://***@proxy.example:3128/x'],
    ['s3://KEY:SECRET@bucket/prefix', 's3://***@bucket/prefix'],
    ['https://token@hooks.example/services/1', 'https://***@hooks.example/services/1'],
    [
      'GET /b?X-Amz-Credential=AK%2F1&X-Amz-Signature=abcdef&x=1',
      'GET /b?X-Amz-Credential=***&X-Amz-Signature=***&x=1',
    ],
    ['Authorization: AWS4-HMAC-SHA256 Credential=x', 'Authorization: ***'],
    ['"authorization":"Bearer abc.def"', '"authorization":"***"'],
    ['?token=abc&x=1 password=hunter2 ', '?token=***&x=1 password=*** '],
    ['the key AKIAIOSFODNN7EXAMPLE is known', 'the key *** is known'],
    ['-----BEGIN PRIVATE KEY-----\nMIIE\n-----END PRIVATE KEY-----\nrest', '-----BEGIN PRIVATE KEY-----***\nrest'],
    ['-----BEGIN EC PRIVATE KEY-----\nMIIE cut', '-----BEGIN EC PRIVATE KEY-----***'],
  ] as const) {
    assert.equal(scrub(text), expected);
  }
});

test('ordinary text is left alone', () => {
  const text = 'reading s3://bucket/prefix at http://127.0.0.1:9000, mail nobody@example.net, 12 tokens; email:a@b\n';
  assert.equal(scrubber([])(text), text);
});

test('settings that are secrets are known by their names, whether the schema says so or not', () => {
  for (const path of ['store.secretAccessKey', 'volumes.media.password', 'events.webhook', 'nbd.tls.keyPassword']) {
    assert.equal(isSecretPath(path), true, path);
  }
  for (const path of ['store.url', 'volumes.media.passwordFile', 'nbd.tls.pskFile'])
    assert.equal(isSecretPath(path), false, path);
});
