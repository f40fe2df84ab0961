/**
 * `npm run bench`: measures this project and what it is compared with side by side, as whole processes on this machine.
 * docs/PERFORMANCE.md tells what the numbers mean. Ends with 1 where a scenario failed; a figure that is not met is no failure.
 */
import { mkdir, writeFile } from 'node:fs/promises';
import { resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { installTools } from '../support/install-tools.ts';
import { PACKAGE_OF_TOOL } from '../support/tools.ts';
import { describeMachine } from './machine.ts';
import { type BenchOptions, parseOptions, USAGE } from './options.ts';
import { machineText, scenarioText } from './report.ts';
import { lackingHere, runScenario } from './run-scenario.ts';
import type { ScenarioResult } from './scenario.ts';
import { SCENARIOS, selectScenarios } from './scenarios.ts';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const USAGE_ERROR = 2;

function print(text: string): void {
  process.stdout.write(`${text}\n`);
}

/** Progress is for whoever watches, and not part of the results. */
function say(text: string): void {
  process.stderr.write(`${text}\n`);
}

function list(): void {
  for (const { name, about, tools, facilities } of SCENARIOS) {
    const packages = [...new Set(tools.map((tool) => PACKAGE_OF_TOOL[tool]))];
    print(`${name.padEnd(14)} ${about}\n${''.padEnd(14)} needs ${[...packages, ...facilities].join(', ')}`);
  }
}

async function profiling({ profileDir }: BenchOptions): Promise<Record<string, string>> {
  if (profileDir === null) return {};
  const dir = resolve(profileDir);
  await mkdir(dir, { recursive: true });
  return { NODE_OPTIONS: `--cpu-prof --cpu-prof-dir=${dir}` };
}

async function measure(options: BenchOptions): Promise<number> {
  const scenarios = selectScenarios(options.scenarios);
  const stop = new AbortController();
  // What is in place is taken down by the handlers that come with it; nothing new is begun.
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => stop.abort());
  await installTools(say, [...new Set(scenarios.flatMap(({ tools }) => tools))]);
  const env = await profiling(options);
  const machine = await describeMachine(ROOT);
  print(machineText(machine));
  const { rounds, seconds } = options;
  const results: ScenarioResult[] = [];
  for (const scenario of scenarios) {
    const result = await runScenario(scenario, {
      rounds,
      seconds,
      env,
      say,
      lacking: lackingHere,
      stopping: stop.signal,
    });
    results.push(result);
    print(`\n${scenarioText(result)}`);
  }
  if (options.jsonFile !== null) {
    const report = { version: 1, machine, rounds, seconds, scenarios: results };
    await writeFile(options.jsonFile, `${JSON.stringify(report, null, 2)}\n`);
  }
  return results.some(({ failed }) => failed !== null) ? 1 : 0;
}

async function main(words: readonly string[]): Promise<number> {
  let options: BenchOptions;
  try {
    options = parseOptions(words);
    selectScenarios(options.scenarios);
  } catch (error) {
    say(`${error instanceof Error ? error.message : error}\n\n${USAGE}`);
    return USAGE_ERROR;
  }
  if (options.help) print(USAGE);
  else if (options.list) list();
  else return await measure(options);
  return 0;
}

process.exitCode = await main(process.argv.slice(2));
