/** What a scan has found, as people read it. */
import { approximateSize } from '../lib/units.ts';
import { escapeControls } from '../telemetry/log-format.ts';
import type { ScanFinding, ScanOutcome } from './actions.ts';

/** --json has the others. */
const FINDINGS_SHOWN = 20;
const RANGES_SHOWN = 5;

export function scanText(report: ScanOutcome): string {
  const { volume, checked, deep, damageLeft, repaired, findings, rotation, by } = report;
  const read = deep ? `, ${checked.deepBlocks} of them read (${approximateSize(checked.deepBytes)})` : '';
  const cache =
    checked.logBytes + checked.cachedBytes === 0
      ? ''
      : `, ${approximateSize(checked.logBytes + checked.cachedBytes)} of the cache checked`;
  const lines = [`${volume}: ${checked.blocks} blocks listed${read}${cache}: ${verdict(report)}`];
  lines.push(...findings.slice(0, FINDINGS_SHOWN).map((finding) => `  ${findingText(finding)}`));
  const total = Object.values(report.counts).reduce((sum, count) => sum + count, 0);
  if (total > FINDINGS_SHOWN)
    lines.push(`  and ${total - FINDINGS_SHOWN} more: --json tells of a thousand of each kind`);
  lines.push(...filesText(report));
  if (rotation !== null && rotation.checkedBlocks < rotation.storedBlocks && rotation.checkedBlocks > 0) {
    lines.push(`  the next scan goes on after ${rotation.checkedBlocks} of ${rotation.storedBlocks} blocks`);
  }
  if (by === 'alone')
    lines.push('  nobody serves the volume: what should be in the bucket is not known, and was not compared');
  if (damageLeft > 0 && !report.repair) lines.push('  --repair puts back what the cache still has');
  else if (repaired > 0) lines.push(`  ${repaired} repaired`);
  return `${lines.join('\n')}\n`;
}

function verdict({ damageLeft, repaired, counts }: ScanOutcome): string {
  if (damageLeft > 0) return `DAMAGED in ${damageLeft} ${damageLeft === 1 ? 'place' : 'places'}`;
  if (repaired > 0) return 'damage was found, and repaired';
  const odd = Object.entries(counts).filter(([, count]) => count > 0);
  return odd.length === 0 ? 'nothing wrong' : `no damage; ${odd.map(([kind, count]) => `${count} ${kind}`).join(', ')}`;
}

/** Keys are whatever somebody has put into the bucket. */
function findingText({ kind, key, offset, length, detail, repair, quarantineKey }: ScanFinding): string {
  const bytes = offset === null || length === null ? null : `bytes ${offset} to ${offset + length - 1}`;
  const object = key === null ? null : escapeControls(key);
  const where = bytes !== null && object !== null ? `${bytes} (${object})` : (bytes ?? object);
  const parts = [`${kind}: ${where === null ? '' : `${where}: `}${escapeControls(detail)}`];
  if (repair === 'repaired') parts.push('repaired');
  else if (repair === 'impossible') parts.push('the cache does not have all of it');
  else if (repair === 'failed') parts.push('REPAIRING FAILED');
  if (quarantineKey !== null) parts.push(`what was there is kept as ${escapeControls(quarantineKey)}`);
  return parts.join('; ');
}

function filesText({ ranges, filesystem }: ScanOutcome): string[] {
  if (filesystem === null) return [];
  const commands = ranges.slice(0, RANGES_SHOWN).flatMap(({ findFiles }) => findFiles);
  if (commands.length === 0) return [];
  return [`  which files of its ${filesystem.type} that is:`, ...commands.map((command) => `    ${command}`)];
}
