/** Gets from apt what the tests need, once, before they run. */
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { findProgram, missingTools, PACKAGE_OF_TOOL, type Tool } from './tools.ts';

const APT_TIMEOUT_MS = 10 * 60_000;

const ALL = Object.keys(PACKAGE_OF_TOOL) as Tool[];

/**
 * Installs what is missing of `tools` where this is Debian and we are root; elsewhere the tests that need it skip. Resolves
 * with those that are still missing, and tells about it through `say`.
 */
export async function installTools(say: (line: string) => void, tools: readonly Tool[] = ALL): Promise<Tool[]> {
  const missing = missingTools(tools);
  if (missing.length === 0) return [];
  if (process.getuid?.() !== 0 || !existsSync('/etc/debian_version') || findProgram('apt-get') === null) return missing;
  const packages = [...new Set(missing.map((tool) => PACKAGE_OF_TOOL[tool]))];
  say(`installing ${packages.join(' ')}`);
  const install = ['install', '-y', '-q', '--no-install-recommends', ...packages];
  // The lists of packages may be old or absent; fetching them is the slow part, so only where needed.
  if ((await aptGet(install)) !== null) {
    const failed = (await aptGet(['update', '-q'])) ?? (await aptGet(install));
    if (failed !== null) say(`apt-get failed: ${failed}`);
  }
  return missingTools(tools);
}

/** Null, or the end of what it printed. */
function aptGet(args: readonly string[]): Promise<string | null> {
  return new Promise((resolve) => {
    const child = spawn('apt-get', ['-o', 'DPkg::Lock::Timeout=300', ...args], {
      env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive' },
      stdio: ['ignore', 'pipe', 'pipe'],
      timeout: APT_TIMEOUT_MS,
    });
    let output = '';
    const keep = (chunk: Buffer): void => {
      output = (output + chunk.toString()).slice(-2000);
    };
    child.stdout.on('data', keep);
    child.stderr.on('data', keep);
    child.once('error', (error) => resolve(error.message));
    child.once('close', (code) => resolve(code === 0 ? null : output.trim().split('\n').slice(-5).join('\n')));
  });
}
