/**
 * Loaded by test/run.ts into the process of every test file, as `file-deadline.ts?ms=600000`: ends it where it outlives its
 * time, by SIGTERM first, so that it puts back what it must. The runner's own timeout ends a test, but not a file that
 * something keeps alive.
 */

const CLEANUP_MS = 60_000;

const timeoutMs = Number(new URL(import.meta.url).searchParams.get('ms'));
setTimeout(giveUp, timeoutMs).unref();

function giveUp(): void {
  const held = process.getActiveResourcesInfo().join(', ');
  process.stderr.write(`this test file has not ended within ${timeoutMs} ms; it holds: ${held}\n`);
  // A cleanup that hangs as well is not waited for either.
  setTimeout(() => process.kill(process.pid, 'SIGKILL'), CLEANUP_MS).unref();
  process.kill(process.pid, 'SIGTERM');
}
