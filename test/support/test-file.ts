/**
 * Loaded by test/run.ts into the process of every test file, as `test-file.ts?ms=600000&pids=FILE`. It notes the process in
 * FILE, so that the run can wait for it, and ends it where it outlives its time, by SIGTERM first, so that it puts back what
 * it must: the runner's own timeout ends a test, but not a file that something keeps alive.
 */
import { appendFileSync } from 'node:fs';

const CLEANUP_MS = 60_000;

const parameters = new URL(import.meta.url).searchParams;
const timeoutMs = Number(parameters.get('ms'));
appendFileSync(parameters.get('pids') ?? '/dev/null', `${process.pid}\n`);
setTimeout(giveUp, timeoutMs).unref();

function giveUp(): void {
  const held = process.getActiveResourcesInfo().join(', ');
  process.stderr.write(`this test file has not ended within ${timeoutMs} ms; it holds: ${held}\n`);
  // A cleanup that hangs as well is not waited for either.
  setTimeout(() => process.kill(process.pid, 'SIGKILL'), CLEANUP_MS).unref();
  process.kill(process.pid, 'SIGTERM');
}
