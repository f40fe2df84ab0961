/** `bucketdisk support-bundle`: what somebody needs who is to help, in one file, without secrets. */
import { readFileSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { get } from 'node:http';
import { basename } from 'node:path';
import { askAppliance } from './admin/control-client.ts';
import type { SupportOptions, SupportOutcome } from './cli/actions.ts';
import { findingText } from './cli/doctor-text.ts';
import { packageVersion } from './cli/package-version.ts';
import type { ListenAddress } from './config/settings.ts';
import { examine } from './doctor-service.ts';
import { describeError, StorageError } from './lib/errors.ts';
import { runProgram } from './lib/run-program.ts';
import { StateDir } from './lib/state-dir.ts';
import { systemReason } from './lib/system-reason.ts';
import { type BundleFile, writeBundle } from './support/bundle.ts';
import { environmentFacts, json, mountFacts, versionFacts } from './support/machine-facts.ts';
import { isSecretPath, scrubber } from './support/scrubber.ts';

const ANSWER_TIMEOUT_MS = 5_000;
const JOURNAL_TIMEOUT_MS = 15_000;
const JOURNAL_LINES = 2_000;
/** The end of a log file is what tells. */
const LOG_BYTES_MAX = 4 * 1024 * 1024;

/** NOT_FOUND where a log file that was named is missing; INVALID where the bundle cannot be written. */
export async function makeSupportBundle(options: SupportOptions): Promise<SupportOutcome> {
  const { path, signal } = options;
  const files: BundleFile[] = [];
  const add = (name: string, about: string, text: string): void => void files.push({ name, about, text });
  for (const file of options.logFiles) {
    // Two logs may have one name.
    const taken = files.filter(({ name }) => name.endsWith(basename(file))).length;
    const name = taken === 0 ? basename(file) : `${taken + 1}-${basename(file)}`;
    add(`log/${name}`, `the end of ${file}`, await endOf(file));
  }
  add('versions.json', 'versions, limits, memory', versionFacts(packageVersion()));
  add('configuration.json', 'every setting, and where it comes from', configurationText(options));
  add('environment.txt', 'which variables are set', environmentFacts(options.env));
  add('mounts.txt', 'what is mounted, loop devices', mountFacts());
  add('status.json', 'what the appliance says of itself', await statusText(options));
  add('metrics.txt', 'its metrics', await metricsText(options));
  if (options.logFiles.length === 0) add('log/journal.txt', 'its newest lines in the journal', await journalText());
  const report = await examine({ ...options, onFinding: () => undefined });
  add('doctor.json', 'what the doctor found', json(report));
  add('doctor.txt', 'the same, to be read', report.findings.map((finding) => findingText(finding, false)).join(''));
  if (signal.aborted) throw new StorageError('CANCELLED', 'interrupted: nothing was written');
  const name = basename(path).replace(/\.t(ar\.)?gz$/, '');
  const { sizeBytes } = await writeBundle(path, name, files, scrubber(secretsOf(options)));
  return { path, sizeBytes, files: files.map(({ name: file, about }) => ({ name: file, about })) };
}

function configurationText({ problems, files, entries }: SupportOptions): string {
  const settings = entries.map(({ path, value, source }) => {
    const masked = isSecretPath(path) && value !== null ? '***' : value;
    return { path, value: masked, source };
  });
  return json({ problems, files, settings });
}

/** Those of the configuration, of the environment, and the keys in the file of pre-shared ones. */
function secretsOf({ secrets, env, entries, settings }: SupportOptions): string[] {
  const ofEnvironment = Object.entries(env)
    .filter(([name]) => /SECRET|TOKEN|PASSWORD|ACCESS_KEY|WEBHOOK/i.test(name) && !/_FILE$/.test(name))
    .flatMap(([, value]) => value ?? []);
  const ofSettings = entries.flatMap(({ path, value }) =>
    isSecretPath(path) && typeof value === 'string' ? value : [],
  );
  const pskFile = settings?.nbd.tls.pskFile ?? null;
  return [...secrets, ...ofEnvironment, ...ofSettings, ...(pskFile === null ? [] : pskKeys(pskFile))].filter(
    (secret) => secret !== '***',
  );
}

function pskKeys(path: string): string[] {
  try {
    return readFileSync(path, 'utf8')
      .split('\n')
      .flatMap((line) => line.trim().split(':')[1] ?? []);
  } catch {
    return [];
  }
}

async function statusText({ settings, signal }: SupportOptions): Promise<string> {
  if (settings === null) return json(null);
  const until = AbortSignal.any([signal, AbortSignal.timeout(ANSWER_TIMEOUT_MS)]);
  try {
    return json(
      await askAppliance(StateDir.controlSocketPath(settings.cache.dir), 'GET', '/v1/status', undefined, until),
    );
  } catch (error) {
    return json({ error: describeError(error) });
  }
}

async function metricsText({ settings, signal }: SupportOptions): Promise<string> {
  const listen = settings?.admin.listen ?? null;
  if (listen === null || listen.port === 0) return 'not known: admin.listen is not set\n';
  const until = AbortSignal.any([signal, AbortSignal.timeout(ANSWER_TIMEOUT_MS)]);
  return fetchMetrics(listen, until).catch((error: unknown) => `not to be had: ${systemReason(error)}\n`);
}

function fetchMetrics({ host, port }: ListenAddress, signal: AbortSignal): Promise<string> {
  // What listens on every address listens on this one.
  const reachable = host === '0.0.0.0' ? '127.0.0.1' : host === '::' ? '::1' : host;
  return new Promise((resolve, reject) => {
    const asking = get({ host: reachable, port, path: '/metrics', signal, agent: false }, (response) => {
      let text = '';
      response.setEncoding('utf8');
      response.on('data', (chunk: string) => {
        if (text.length < LOG_BYTES_MAX) text += chunk;
      });
      response.on('end', () => resolve(text));
      response.on('error', reject);
    });
    asking.on('error', reject);
  });
}

/** Of a service that is called as this program is. */
async function journalText(): Promise<string> {
  const args = ['--unit', 'bucketdisk*', '--lines', String(JOURNAL_LINES), '--no-pager', '--output', 'short-iso'];
  try {
    const { code, stdout, stderr } = await runProgram('journalctl', args, { timeoutMs: JOURNAL_TIMEOUT_MS });
    return code === 0 ? stdout : `not to be had: ${stderr}\n`;
  } catch (error) {
    return `not to be had: ${describeError(error)}; --log-file adds the log of an appliance that is no service of systemd\n`;
  }
}

async function endOf(path: string): Promise<string> {
  try {
    const file = await open(path, 'r');
    try {
      const { size } = await file.stat();
      const length = Math.min(size, LOG_BYTES_MAX);
      const { buffer, bytesRead } = await file.read(Buffer.alloc(length), 0, length, size - length);
      return buffer.subarray(0, bytesRead).toString('utf8');
    } finally {
      await file.close();
    }
  } catch (cause) {
    throw new StorageError('NOT_FOUND', `cannot read the log file ${path}: ${systemReason(cause)}`, { cause });
  }
}
