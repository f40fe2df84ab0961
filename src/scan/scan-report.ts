/** What a scan tells: printed with --json as it stands, so that a name or a meaning here changes only with a note in the CHANGELOG. */
import type { BlockFault } from '../layout/blocks/block-inspector.ts';

/**
 * Of blocks, see BlockFault. Beside those:
 * - `lost`         cached bytes are in no object any more
 * - `log-damaged`  bytes that were written and not uploaded are damaged on the cache's disk
 * - `cache-rotten` cached bytes were damaged there; they are fetched again, and nothing is lost
 * - `orphaned`     an object of a block beyond the volume's end
 * - `foreign`      a key below the volume's prefix that is none of its own
 */
export type FindingKind = BlockFault | 'lost' | 'log-damaged' | 'cache-rotten' | 'orphaned' | 'foreign';

export const FINDING_KINDS = [
  ...['missing', 'unexpected', 'changed', 'wrong-size', 'corrupt', 'undecryptable', 'unreadable', 'lost'],
  ...['log-damaged', 'cache-rotten', 'orphaned', 'foreign'],
] as readonly FindingKind[];

/** What is only told: no byte of the volume is wrong for it. */
const HARMLESS: ReadonlySet<FindingKind> = new Set(['cache-rotten', 'orphaned', 'foreign']);

export function isDamage(kind: FindingKind): boolean {
  return !HARMLESS.has(kind);
}

/**
 * - `none`        nothing was tried
 * - `repaired`    it is as it should be again
 * - `impossible`  the cache does not have all of it
 * - `failed`      it was tried
 */
export type RepairState = 'none' | 'repaired' | 'impossible' | 'failed';

export interface Finding {
  readonly kind: FindingKind;
  readonly damage: boolean;
  /** Of the object; null where it is about the cache. */
  readonly key: string | null;
  /** The bytes of the volume it is about; null where it is about none. */
  readonly offset: number | null;
  readonly length: number | null;
  readonly detail: string;
  readonly repair: RepairState;
  /** Where what was replaced has been kept; null where nothing was replaced. */
  readonly quarantineKey: string | null;
}

/** Damaged bytes of the volume, and how to find out which files they are in. */
export interface DamagedRange {
  readonly offset: number;
  readonly length: number;
  /** Commands for a shell; empty where the filesystem is not one we know. */
  readonly findFiles: readonly string[];
}

export interface FoundFilesystem {
  readonly type: 'ext4' | 'xfs' | 'btrfs';
  /** Where on the disk it begins. */
  readonly offset: number;
  readonly blockSizeBytes: number;
}

export interface ScanReport {
  readonly volume: string;
  readonly url: string;
  /** ISO 8601. */
  readonly startedAt: string;
  readonly durationMs: number;
  /** `appliance`: by the appliance that serves it, and knows what should be there. `alone`: by a command, which only reads. */
  readonly by: 'appliance' | 'alone';
  readonly deep: boolean;
  readonly repair: boolean;
  readonly sizeBytes: number;
  readonly blockSizeBytes: number;
  readonly checked: {
    /** Keys in the listing. */
    readonly keys: number;
    readonly blocks: number;
    /** Blocks whose bytes were read and checked, and how many bytes that took. */
    readonly deepBlocks: number;
    readonly deepBytes: number;
    readonly cachedBytes: number;
    readonly logBytes: number;
  };
  /** How far the checks of all bytes have come, over the scans so far; null where this scan checked none. */
  readonly rotation: { readonly round: number; readonly checkedBlocks: number; readonly storedBlocks: number } | null;
  /** Findings by kind, all of them. */
  readonly counts: Readonly<Record<FindingKind, number>>;
  /** Findings that are damage and were not repaired. */
  readonly damageLeft: number;
  readonly repaired: number;
  /** The first thousand of each kind. */
  readonly findings: readonly Finding[];
  /** Of the damage, put together; the first thousand. */
  readonly ranges: readonly DamagedRange[];
  readonly filesystem: FoundFilesystem | null;
}

export interface ScanProgress {
  readonly phase: 'listing' | 'checking' | 'reading' | 'cache' | 'repairing';
  /** Blocks, or bytes of the cache. */
  readonly done: number;
  /** Null where it is not known. */
  readonly total: number | null;
  readonly findings: number;
}
