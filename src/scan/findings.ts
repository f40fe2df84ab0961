/** What a scan has found so far, counted whole and kept within bounds. */
import {
  type DamagedRange,
  FINDING_KINDS,
  type Finding,
  type FindingKind,
  isDamage,
  type RepairState,
} from './scan-report.ts';

const KEPT_MAX = 1000;
const RANGES_MAX = 1000;

/** A finding that may be repaired. */
export interface OpenFinding extends Finding {
  /** The block it is about; null where it is about none. */
  readonly block: number | null;
  /** Of the object that was found; null where none was. */
  readonly etag: string | null;
}

export type NewFinding = Pick<OpenFinding, 'kind' | 'detail'> & Partial<OpenFinding>;

export class Findings {
  readonly #kept = new Map<FindingKind, OpenFinding[]>(FINDING_KINDS.map((kind) => [kind, []]));
  readonly #counts = new Map<FindingKind, number>(FINDING_KINDS.map((kind) => [kind, 0]));
  /** Blocks that are told of already: a fault found in the listing is not found again by reading. */
  readonly #blocks = new Set<number>();
  #damage = 0;
  #repaired = 0;

  get count(): number {
    return [...this.#counts.values()].reduce((sum, count) => sum + count, 0);
  }

  get repaired(): number {
    return this.#repaired;
  }

  get damageLeft(): number {
    return this.#damage - this.#repaired;
  }

  has(block: number): boolean {
    return this.#blocks.has(block);
  }

  add(found: NewFinding): void {
    const { kind } = found;
    const damage = isDamage(kind);
    this.#counts.set(kind, (this.#counts.get(kind) ?? 0) + 1);
    if (damage) this.#damage++;
    if (typeof found.block === 'number') this.#blocks.add(found.block);
    const kept = this.#kept.get(kind);
    if (kept === undefined || kept.length >= KEPT_MAX) return;
    kept.push({
      ...{
        damage,
        key: null,
        offset: null,
        length: null,
        repair: 'none',
        quarantineKey: null,
        block: null,
        etag: null,
      },
      ...found,
    });
  }

  /** Those that are kept. */
  list(): readonly OpenFinding[] {
    return [...this.#kept.values()].flat();
  }

  settle(finding: OpenFinding, repair: RepairState, quarantineKey: string | null): void {
    const kept = this.#kept.get(finding.kind);
    const at = kept?.indexOf(finding) ?? -1;
    if (kept === undefined || at < 0) return;
    kept[at] = { ...finding, repair, quarantineKey };
    if (repair === 'repaired' && finding.damage) this.#repaired++;
  }

  counts(): Record<FindingKind, number> {
    return Object.fromEntries(this.#counts) as Record<FindingKind, number>;
  }

  /** For a report, without what only a repair needs. */
  told(): Finding[] {
    return this.list().map(({ block: _block, etag: _etag, ...finding }) => finding);
  }

  /** The bytes of all damage that is kept, in order, adjacent ones as one. */
  damagedRanges(): Omit<DamagedRange, 'findFiles'>[] {
    const ranges: { offset: number; length: number }[] = [];
    const damaged = this.list().filter(({ damage }) => damage);
    const sorted = damaged.toSorted((a, b) => (a.offset ?? 0) - (b.offset ?? 0));
    for (const { offset, length } of sorted) {
      if (offset === null || length === null) continue;
      const last = ranges.at(-1);
      if (last !== undefined && offset <= last.offset + last.length) {
        last.length = Math.max(last.length, offset + length - last.offset);
      } else if (ranges.length < RANGES_MAX) {
        ranges.push({ offset, length });
      }
    }
    return ranges;
  }
}
