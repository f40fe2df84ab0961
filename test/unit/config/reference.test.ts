/** docs/CONFIGURATION.md says what the schema says. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { describe, it } from 'node:test';
import JSON5 from 'json5';
import { loadSettings } from '../../../src/config/load-settings.ts';
import { configurationReference } from '../../../src/config/reference.ts';

describe('docs/CONFIGURATION.md', () => {
  it('is up to date: node src/config/write-reference.ts', () => {
    const written = readFileSync(new URL('../../../docs/CONFIGURATION.md', import.meta.url), 'utf8');
    assert.equal(written, configurationReference());
  });

  it('has an example that works once its secret is there', () => {
    const example = /```json5\n([\s\S]*?)```/.exec(configurationReference())?.[1] ?? '';
    const config = JSON5.parse(example);
    delete config.volumes.private.passwordFile;
    const set = ['store', 'nbd', 'volumes'].map((section) => `${section}=${JSON.stringify(config[section])}`);
    const { settings } = loadSettings({ files: [], env: {}, set: [...set, 'volumes.private.password=x'], cwd: '/' });
    assert.deepEqual(Object.keys(settings.volumes), ['media', 'private']);
  });
});
