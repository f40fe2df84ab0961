/** `bucketdisk support-bundle`, as a process, with a secret in every place that one can be in: none is in the archive. */
import assert from 'node:assert/strict';
import { readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { list } from 'tar';
import { startAppliance } from '../support/appliance.ts';
import { runCommand } from '../support/run-command.ts';
import { tempDir } from '../support/temp.ts';

const TIMEOUT_MS = 240_000;
const MAIN = fileURLToPath(new URL('../../src/main.ts', import.meta.url));

/** Every file of the archive with its text. */
async function read(path: string): Promise<Map<string, string>> {
  const files = new Map<string, string>();
  await list({
    file: path,
    onReadEntry: (entry) => {
      if (entry.type !== 'File') return entry.resume();
      const chunks: Buffer[] = [];
      entry.on('data', (chunk) => chunks.push(Buffer.from(chunk)));
      entry.on('end', () => files.set(entry.path, Buffer.concat(chunks).toString('utf8')));
    },
  });
  return files;
}

const clean = Object.fromEntries(
  Object.keys(process.env)
    .filter((name) => /^(AWS|BUCKETDISK)_/.test(name))
    .map((name) => [name, undefined]),
);

it('has what is needed to help, and no secret', { timeout: TIMEOUT_MS }, async (t) => {
  const dir = await tempDir(t, 'bundle');
  const bucket = await tempDir(t, 'bundle-bucket');
  const secrets = {
    inFile: 'Secret-In-A-File-1',
    inConfig: 'Secret-In-The-Config-2',
    inEnvironment: 'Secret-In-The-Environment-3',
    onTheCommandLine: 'Secret-On-The-Command-Line-4',
    ofAws: 'Secret/Of+Aws5',
    session: 'Session-Token-6',
    inUrl: 'Secret-In-A-Url-7',
    psk: 'c0ffee00c0ffee11c0ffee22c0ffee33',
    webhook: 'https://hooks.example.net/services/Secret-Of-The-Webhook-8',
    keyId: 'AKIAIOSFODNN7EXAMPLE',
  };
  await writeFile(join(dir, 'password'), `${secrets.inFile}\n`);
  await writeFile(join(dir, 'keys.psk'), `nas:${secrets.psk}\n`);
  // That of a URL is known to nobody, and is only found where it is in one.
  const known = Object.entries(secrets).filter(([name]) => name !== 'inUrl');
  const log = known.map(([name, value]) => JSON.stringify({ name, value, of: `x=${encodeURIComponent(value)}` }));
  await writeFile(
    join(dir, 'app.log'),
    `${log.join('\n')}\nproxy http://user:${secrets.inUrl}@proxy:3128\nan ordinary line\n`,
  );
  const config = {
    store: { url: `file://${bucket}`, accessKeyId: secrets.keyId },
    volumes: {
      media: { size: '64MiB', encrypt: true, passwordFile: join(dir, 'password') },
      other: { size: '64MiB', encrypt: true, password: secrets.inConfig },
      third: { size: '64MiB', encrypt: true },
    },
    events: { webhook: secrets.webhook },
  };
  const env = {
    BUCKETDISK_VOLUMES_THIRD_PASSWORD: secrets.inEnvironment,
    AWS_SECRET_ACCESS_KEY: secrets.ofAws,
    AWS_SESSION_TOKEN: secrets.session,
  };
  const tls = { tls: { mode: 'on', pskFile: join(dir, 'keys.psk') } };
  const args = ['--set', `store.secretAccessKey=${secrets.onTheCommandLine}`];
  const appliance = await startAppliance({
    lifetime: t,
    config: { ...config, nbd: tls, log: { level: 'debug' } },
    env,
    args,
  });
  const path = join(dir, 'help.tar.gz');
  const words = [
    'support-bundle',
    path,
    '--json',
    '--log-file',
    join(dir, 'app.log'),
    '--config',
    appliance.configFile,
    ...args,
  ];
  const { stdout } = await runCommand(process.execPath, [MAIN, ...words], {
    env: { ...clean, ...env },
    timeoutMs: TIMEOUT_MS,
  });

  const outcome = JSON.parse(stdout) as { path: string; sizeBytes: number; files: { name: string; about: string }[] };
  assert.equal(outcome.path, path);
  const { size, mode } = await stat(path);
  assert.equal(outcome.sizeBytes, size);
  assert.equal(mode & 0o777, 0o600, 'nobody else may read it');
  const files = await read(path);
  assert.deepEqual(
    [...files.keys()].sort(),
    ['CONTENTS.txt', ...outcome.files.map(({ name }) => name)].map((name) => `help/${name}`).sort(),
  );
  for (const [name, text] of files) {
    for (const [which, secret] of Object.entries(secrets)) {
      for (const spelling of [secret, encodeURIComponent(secret), Buffer.from(secret).toString('base64')]) {
        assert.ok(!text.includes(spelling), `${which} is in ${name}`);
      }
    }
  }
  const text = (name: string): string => files.get(`help/${name}`) ?? '';
  assert.equal(JSON.parse(text('status.json')).running, true);
  assert.ok(JSON.parse(text('doctor.json')).findings.length > 10);
  assert.match(text('doctor.txt'), /^ok {4}node/m);
  assert.match(text('log/app.log'), /an ordinary line/);
  assert.match(text('log/app.log'), /http:\/\/\*\*\*@proxy:3128/);
  assert.match(text('mounts.txt'), / - /);
  assert.match(text('environment.txt'), /^AWS_SECRET_ACCESS_KEY is set$/m);
  const settings = JSON.parse(text('configuration.json')).settings as { path: string; value: unknown }[];
  for (const name of ['volumes.other.password', 'store.secretAccessKey', 'events.webhook']) {
    assert.equal(settings.find((setting) => setting.path === name)?.value, '***', name);
  }
  assert.match(text('CONTENTS.txt'), /doctor\.json/);
  const before = await readFile(path);
  const again = await runCommand(process.execPath, [MAIN, ...words], { env: { ...clean, ...env }, okCodes: null });
  assert.equal(again.code, 2, 'a file that is there is not replaced');
  assert.deepEqual(await readFile(path), before);
});
