/**
 * `npm test`: gets the tools, then runs the test files under test/unit, test/conformance and test/interop, and tells at the
 * end what was skipped and why. Arguments narrow it: `npm test -- unit`, `npm test -- unit/nbd interop/qemu`.
 */
import { globSync, readFileSync } from 'node:fs';
import { mkdtemp, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { run } from 'node:test';
import { spec } from 'node:test/reporters';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import {
  CEPH_DIR_PREFIX,
  CEPH_STATE_ENV,
  CEPH_TOOLS,
  type CephState,
  isRunning,
  startCeph,
} from './support/ceph-cluster.ts';
import type { Lifetime } from './support/cleanup.ts';
import { offerDocker } from './support/docker-daemon.ts';
import { installTools } from './support/install-tools.ts';
import { missingTools } from './support/tools.ts';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
const SUITES = ['unit', 'conformance', 'interop'];
/** The machine may have two cores only, but many a test waits for other processes, or for time to pass. */
const CONCURRENCY = 3;
/** A test that takes longer has failed, unless it says otherwise; a file that takes longer is ended. */
const TEST_TIMEOUT_MS = 5 * 60_000;
/** FILE_MINUTES is for tests that are only run by hand. */
const FILE_TIMEOUT_MS = Number(process.env.FILE_MINUTES ?? 10) * 60_000;
/** Of so many files the run tells how long they took. */
const SLOWEST_FILES = 15;
/** How long the files may take to put back what they must when the run is broken off. */
const CLEANUP_MS = 60_000;
const NODE_MAJOR_MIN = 24;

interface Skipped {
  readonly file: string;
  readonly name: string;
  readonly reason: string;
}

function say(line: string): void {
  process.stdout.write(`${line}\n`);
}

/** The files whose path begins with, or holds, one of the patterns; all of them without patterns. */
function selectFiles(patterns: readonly string[]): string[] {
  const all = SUITES.flatMap((suite) => globSync(`test/${suite}/**/*.test.ts`, { cwd: ROOT })).sort();
  if (patterns.length === 0) return all;
  return all.filter((file) =>
    patterns.some(
      (pattern) => file.startsWith(`test/${pattern.replace(/^(\.\/)?test\//, '')}`) || file.includes(pattern),
    ),
  );
}

/**
 * Starts the gateway that the files share, beside the first of them, and tells of it in a file. `settled`: it is up, or has
 * failed; ending it before that would miss what it starts last.
 */
async function offerCeph(lifetime: Lifetime, dir: string): Promise<{ settled: Promise<void> }> {
  if (process.getuid?.() !== 0 || missingTools(CEPH_TOOLS).length > 0) return { settled: Promise.resolve() };
  const stateFile = join(dir, 'ceph.json');
  process.env[CEPH_STATE_ENV] = stateFile;
  const announce = async (state: CephState): Promise<void> => {
    // Whole or not at all: the readers look for it all the time.
    await writeFile(`${stateFile}.new`, JSON.stringify(state));
    await rename(`${stateFile}.new`, stateFile);
  };
  const started = startCeph(lifetime).then(
    ({ address }) => announce(address),
    (error: unknown) => announce({ error: String(error) }),
  );
  return { settled: started };
}

/** Runs the files; resolves with whether all passed. */
async function runFiles(
  files: readonly string[],
  skipped: Skipped[],
  pidsFile: string,
  signal: AbortSignal,
): Promise<boolean> {
  let passed = true;
  const fileSeconds = new Map<string, number>();
  const preload = new URL(`support/test-file.ts?ms=${FILE_TIMEOUT_MS}&pids=${pidsFile}`, import.meta.url);
  const stream = run({
    files: files.map((file) => join(ROOT, file)),
    concurrency: CONCURRENCY,
    timeout: TEST_TIMEOUT_MS,
    execArgv: ['--import', preload.href],
    signal,
  });
  stream.on('test:fail', ({ todo }) => {
    if (todo === undefined || todo === false) passed = false;
  });
  stream.on('test:pass', ({ skip, name, file = '' }) => {
    if (skip === undefined || skip === false) return;
    skipped.push({ file: file.replace(ROOT, ''), name, reason: typeof skip === 'string' ? skip : 'no reason given' });
  });
  stream.on('test:summary', ({ file, duration_ms }) => {
    if (file !== undefined) fileSeconds.set(file.replace(ROOT, ''), duration_ms / 1000);
  });
  // Not piped: the run must come to its end also where nobody reads the output any more.
  for await (const chunk of stream.compose(new spec())) process.stdout.write(chunk);
  const slowest = [...fileSeconds].sort(([, a], [, b]) => b - a).slice(0, SLOWEST_FILES);
  say('\nthe slowest files, in seconds:');
  for (const [file, seconds] of slowest) say(`${seconds.toFixed(1).padStart(8)}  ${file}`);
  return passed;
}

/**
 * A run that is broken off does not wait for its files, which may still be unmounting what they need a server for. We do,
 * and end those that do not come to an end.
 */
async function waitForFiles(pidsFile: string): Promise<void> {
  const text = await readFile(pidsFile, 'utf8').catch(() => '');
  const pids = text.split('\n').filter((line) => line !== '');
  const deadline = performance.now() + CLEANUP_MS;
  for (const pid of pids.map(Number)) {
    while (isRunning(pid) && performance.now() < deadline) await delay(50);
    if (isRunning(pid)) process.kill(pid, 'SIGKILL');
  }
}

async function main(patterns: readonly string[]): Promise<number> {
  const files = selectFiles(patterns);
  if (files.length === 0) {
    say(`no test file matches ${patterns.join(' ')}`);
    return 1;
  }
  // Named like Ceph's own, which sweeps what killed runs have left.
  const dir = await mkdtemp(`${CEPH_DIR_PREFIX}${process.pid}-`);
  const pidsFile = join(dir, 'pids');
  // Hundreds of processes load the same modules: each is stripped of its types and compiled once.
  process.env.NODE_COMPILE_CACHE = join(dir, 'compiled');
  const ends: (() => void | Promise<void>)[] = [() => rm(dir, { recursive: true, force: true })];
  const stop = new AbortController();
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => stop.abort());
  // As with `npm test | head`: nobody reads on, but what was started must still be ended.
  process.stdout.on('error', () => stop.abort());
  const skipped: Skipped[] = [];
  let ceph = { settled: Promise.resolve() };
  const unitOnly = files.every((file) => file.startsWith('test/unit/'));
  try {
    if (!unitOnly) {
      const missing = await installTools(say);
      if (missing.length > 0) say(`not installed, and what needs it is skipped: ${missing.join(', ')}`);
    }
    const lifetime: Lifetime = { after: (end) => void ends.push(end), ownsSignals: true };
    const uses = (module: string): boolean =>
      files.some((file) => readFileSync(join(ROOT, file), 'utf8').includes(module));
    if (uses('support/containers.ts')) await offerDocker(lifetime, say);
    if (uses('support/ceph.ts')) ceph = await offerCeph(lifetime, dir);
    const passed = await runFiles(files, skipped, pidsFile, stop.signal);
    if (skipped.length > 0) say(`\nskipped (${skipped.length}):`);
    for (const { file, name, reason } of skipped) say(`  ${file}: ${name}: ${reason}`);
    return passed && !stop.signal.aborted ? 0 : 1;
  } finally {
    if (stop.signal.aborted) await waitForFiles(pidsFile);
    await ceph.settled;
    for (let end = ends.pop(); end !== undefined; end = ends.pop()) await end();
  }
}

if (Number(process.versions.node.split('.')[0]) < NODE_MAJOR_MIN) {
  say(
    `the tests need Node ${NODE_MAJOR_MIN} or newer, this is ${process.version}: npm install brings it, npm test uses it`,
  );
  process.exitCode = 1;
} else {
  process.exitCode = await main(process.argv.slice(2));
}
