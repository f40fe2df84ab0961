/** The doctor's findings as people read them. */
import { escapeControls } from '../telemetry/log-format.ts';
import type { DoctorReport } from './actions.ts';

type Finding = DoctorReport['findings'][number];

const COLOURS = { ok: 32, warn: 33, fail: 31 } as const;
const CHECK_WIDTH = 18;

export function findingText({ check, state, message, remedy }: Finding, colour: boolean): string {
  const word = state.padEnd(4);
  const mark = colour ? `\x1b[${COLOURS[state]}m${word}\x1b[0m` : word;
  const line = `${mark}  ${check.padEnd(CHECK_WIDTH)}  ${escapeControls(message)}\n`;
  return remedy === null ? line : `${line}${' '.repeat(CHECK_WIDTH + 8)}-> ${escapeControls(remedy)}\n`;
}

export function summaryText({ findings }: DoctorReport): string {
  const count = (state: Finding['state']): number => findings.filter((finding) => finding.state === state).length;
  const failed = count('fail');
  const verdict = failed === 0 ? 'no check failed' : `${failed} ${failed === 1 ? 'check' : 'checks'} failed`;
  return `\n${verdict}, ${count('warn')} with a warning, ${count('ok')} ok\n`;
}
