/**
 * Helm, and a validator with Kubernetes' schemas, for the tests of the chart. Neither is a package of Debian's: Helm is built by
 * `go install`, which takes two cores many minutes and so is done only where CHART_TOOLS=build asks for it; the validator with its
 * schemas is PyPI's kubernetes-validate. Made once, and kept in the user's cache.
 */
import { mkdir, mkdtemp, rename, rm, stat } from 'node:fs/promises';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { before, type TestContext } from 'node:test';
import { type CommandResult, runCommand } from './run-command.ts';
import { findProgram } from './tools.ts';

const HELM = 'helm.sh/helm/v3/cmd/helm@v3.22.0';
const VALIDATOR = 'kubernetes-validate==1.37.0';
/** Which Kubernetes Helm believes to speak to where there is none. A release has it built in; otherwise it is 1.20. */
const HELM_FLAGS = ['chartutil', 'lint/rules']
  .flatMap((part) => [`${part}.k8sVersionMajor=1`, `${part}.k8sVersionMinor=37`])
  .map((variable) => `-X helm.sh/helm/v3/pkg/${variable}`)
  .join(' ');
/** Helm is half a million lines. */
const CHART_TOOLS_TIMEOUT_MS = 9 * 60_000;
const MODULE_TIMEOUT_MS = 8 * 60_000;

export interface ChartTools {
  readonly helm: string;
  /** Rejects where a manifest of the file is not what that Kubernetes (`1.29`) takes, unknown fields included. */
  validate(file: string, kubernetes: string): Promise<CommandResult>;
}

/**
 * Gets them before the tests of the `describe` that it is called in. What it returns has them for a test, or null where they cannot
 * be had and the test has been skipped with the reason.
 */
export function findChartTools(): (t: TestContext) => ChartTools | null {
  let tools: ChartTools | null = null;
  let unavailable = '';
  before(
    async () => {
      try {
        tools = await chartTools();
      } catch (error) {
        unavailable = error instanceof Error ? (error.message.split('\n')[0] ?? '') : String(error);
      }
    },
    { timeout: CHART_TOOLS_TIMEOUT_MS },
  );
  return (t) => {
    if (tools === null) t.skip(unavailable);
    return tools;
  };
}

/** Rejects with the reason where they cannot be had. */
async function chartTools(): Promise<ChartTools> {
  const cache = join(process.env.XDG_CACHE_HOME ?? join(homedir(), '.cache'), 'bucketdisk-test', 'chart-tools');
  await mkdir(cache, { recursive: true });
  const helm = await goProgram(cache, HELM, ['-ldflags', HELM_FLAGS]);
  const validator = await pythonProgram(cache, VALIDATOR);
  return {
    helm,
    validate: (file, kubernetes) =>
      runCommand('python3', [join(validator, 'bin', 'kubernetes-validate'), '--strict', '-k', kubernetes, file], {
        env: { PYTHONPATH: validator },
      }),
  };
}

async function goProgram(cache: string, module: string, flags: readonly string[] = []): Promise<string> {
  const program = module.replace(/@.*/, '').split('/').at(-1) ?? '';
  const dir = join(cache, module.replaceAll(/[^a-z0-9.]+/g, '-'));
  if (!(await exists(dir))) {
    if (process.env.CHART_TOOLS !== 'build') throw new Error(`needs ${program}: CHART_TOOLS=build has go build it`);
    await make(cache, dir, async (work) => {
      if (findProgram('go') === null) throw new Error(`needs ${program}, which go builds, and there is no go`);
      // Beside other tests, which have deadlines. A toolchain newer than the machine's is not fetched.
      const env = { GOBIN: work, GOFLAGS: '', GOTOOLCHAIN: 'local' };
      const options = { env, timeoutMs: MODULE_TIMEOUT_MS };
      await runCommand('nice', ['-n', '10', 'go', 'install', ...flags, module], options).catch((error: unknown) => {
        throw new Error(`needs ${program}, which go cannot build here: ${String(error).slice(0, 500)}`);
      });
    });
  }
  return join(dir, program);
}

async function pythonProgram(cache: string, name: string): Promise<string> {
  const dir = join(cache, name.replaceAll(/[^a-z0-9.]+/g, '-'));
  if (await exists(dir)) return dir;
  await make(cache, dir, async (work) => {
    const pip = ['-m', 'pip', 'install', '--quiet', '--target', work, name];
    await runCommand('python3', pip, { timeoutMs: MODULE_TIMEOUT_MS }).catch((error: unknown) => {
      throw new Error(`needs ${name}, which pip cannot install here: ${String(error).slice(0, 500)}`);
    });
  });
  return dir;
}

/** Whole or not at all; another run may have been quicker, and one is as good as the other. */
async function make(cache: string, dir: string, fill: (work: string) => Promise<void>): Promise<void> {
  const work = await mkdtemp(join(cache, 'making-'));
  try {
    await fill(work);
    await rename(work, dir).catch(async (error: unknown) => {
      if (!(await exists(dir))) throw error;
    });
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}

async function exists(path: string): Promise<boolean> {
  return await stat(path).then(
    () => true,
    () => false,
  );
}
