/** Results as a table for people. */
import type { MetricResult, SubjectResult } from './comparison.ts';
import type { Machine } from './machine.ts';
import type { ScenarioResult } from './scenario.ts';
import type { Summary } from './statistics.ts';

export function machineText(machine: Machine): string {
  const programs = Object.entries(machine.programs).map(([name, version]) => `${name} ${version}`);
  return [
    `${machine.date}, commit ${machine.commit ?? 'unknown'}`,
    `${machine.cores} cores (${machine.cpu}), ${machine.memoryGiB} GiB, load ${machine.load.toFixed(2)} before the run`,
    `Linux ${machine.kernel}, ${machine.filesystem}, Node ${machine.node}`,
    programs.join(', '),
  ].join('\n');
}

/**
 * A line for each value: what was measured, the median of each subject with its CPU time an operation, the ratios of ours to
 * each other one as median and range over the rounds, and what is wanted.
 */
export function scenarioText({ name, results, notes, skipped, failed }: ScenarioResult): string {
  const lines = [`== ${name}`];
  if (skipped !== null) lines.push(`skipped: ${skipped}`);
  const header = ['', 'subject', 'median', 'range', 'CPU/op', 'ratio', 'range', 'wanted', ''];
  if (results.length > 0) lines.push(...columns([header, ...results.flatMap(rowsOf)]));
  for (const note of notes) lines.push(`note: ${note}`);
  if (failed !== null) lines.push(`failed: ${failed}`);
  return lines.join('\n');
}

function rowsOf(result: MetricResult): string[][] {
  const { better, unit } = result;
  const sign = better === 'more' ? '>=' : '<=';
  return result.subjects.map((subject, index) => {
    const cells = [index === 0 ? result.label : '', ...subjectCells(subject, unit)];
    if (index === 0) {
      const limit = result.limit === null ? '' : `${sign} ${amount(result.limit)} ${unit}`;
      return [...cells, '', '', limit, result.met === null ? '' : result.met ? 'met' : 'NOT MET'];
    }
    const ratio = result.ratios[index - 1];
    if (ratio === undefined) return cells;
    const wanted = ratio.wanted === null ? '' : `${sign} ${ratio.wanted}`;
    return [...cells, ratioText(ratio.ratio.median), range(ratio.ratio, ratioText), wanted, ''];
  });
}

function subjectCells({ name, value, cpuUsPerOp }: SubjectResult, unit: string): string[] {
  const cpu = cpuUsPerOp === null ? '' : `${amount(cpuUsPerOp.median)} us`;
  return [name, `${amount(value.median)} ${unit}`, range(value, amount), cpu];
}

function range({ min, max }: Summary, text: (value: number) => string): string {
  return min === max ? '' : `${text(min)}..${text(max)}`;
}

/** Two digits behind the point where that says anything. */
function ratioText(value: number): string {
  return value >= 0.1 ? value.toFixed(2) : amount(value);
}

/** Three digits that mean something. */
export function amount(value: number): string {
  if (value >= 9_995_000) return `${(value / 1e6).toFixed(1)}M`;
  if (value >= 9_995) return `${(value / 1e3).toFixed(1)}k`;
  if (value >= 100) return value.toFixed(0);
  return Number(value.toPrecision(3)).toString();
}

function columns(rows: readonly (readonly string[])[]): string[] {
  const count = Math.max(...rows.map((row) => row.length));
  const widths = Array.from({ length: count }, (_, index) => Math.max(...rows.map((row) => row[index]?.length ?? 0)));
  return rows.map((row) =>
    row
      .map((cell, index) => cell.padEnd(widths[index] ?? 0))
      .join('  ')
      .trimEnd(),
  );
}
