/** Reads the stored index back: the snapshot, then the journal that continues it. */
import type { DiskFile } from '../../lib/disk.ts';
import { BatchReader } from './batch-file.ts';
import type { EvictionQueues } from './eviction-queues.ts';
import {
  type ChainPoint,
  decodeEntries,
  END,
  ENTRIES,
  type EntrySink,
  FORMAT_VERSION,
  HEAD,
  SEAL,
} from './index-batch.ts';
import type { SlotTable } from './slot-table.ts';

export type LoadedIndex =
  | {
      readonly kind: 'loaded';
      /** What the journal continues. */
      readonly point: ChainPoint;
      readonly snapshotBytes: number;
      /** The journal has no bytes, and the sizes are those of before: it can be written on. */
      readonly isClean: boolean;
    }
  /** Of another volume, or another time of this one. */
  | { readonly kind: 'foreign'; readonly epoch: number }
  | { readonly kind: 'damaged'; readonly reason: string };

/**
 * What the snapshot's first batch says. `nonce` is of this snapshot alone: no journal is taken for the continuation of
 * another one that happens to be the same, as empty ones are.
 */
export function headWords(identity: string, slots: number, nonce: number): number[] {
  return [FORMAT_VERSION, slots, nonce, ...Buffer.from(identity)];
}

/** Puts what is stored into the table, as far as it fits. Where it is not `loaded`, the table is in no state to be used. */
export async function loadIndex(
  snapshot: DiskFile,
  journal: DiskFile,
  identity: string,
  table: SlotTable,
): Promise<LoadedIndex & { readonly states: Uint8Array }> {
  const sink = new TableSink(table);
  const result = await load(snapshot, journal, identity, table, sink);
  return { ...result, states: sink.states };
}

/** Puts the slots in use into the queues in the order of their numbers, which is about that in which they were filled. */
export function restoreQueues(table: SlotTable, queues: EvictionQueues, states: Uint8Array): void {
  for (let slot = 0; slot < table.slots; slot++) if (table.isUsed(slot)) queues.restore(slot, states[slot] as number);
}

async function load(
  snapshot: DiskFile,
  journal: DiskFile,
  identity: string,
  table: SlotTable,
  sink: TableSink,
): Promise<LoadedIndex> {
  const reader = new BatchReader(snapshot, null);
  const head = await reader.next();
  if (head === null || head.kind !== HEAD) return damaged('it has no head');
  const { epoch } = head.next;
  const [version, slots = 0, nonce = 0] = head.words;
  if (version !== FORMAT_VERSION) return damaged(`its format is ${version}, not ${FORMAT_VERSION}`);
  const expected = headWords(identity, slots, nonce);
  if (expected.length !== head.words.length || expected.some((word, at) => head.words[at] !== word)) {
    return { kind: 'foreign', epoch };
  }
  for (;;) {
    const batch = await reader.next();
    if (batch === null) return damaged(`a part is missing or damaged after ${reader.sizeBytes} bytes`);
    if (batch.kind === END) break;
    if (batch.kind !== ENTRIES || !decodeEntries(batch.words, sink)) return damaged('it holds what is no entry');
  }
  const point = reader.point as ChainPoint;
  const journalReader = new BatchReader(journal, point);
  for (let batch = await journalReader.next(); batch !== null; batch = await journalReader.next()) {
    if (batch.kind === SEAL) continue;
    if (batch.kind !== ENTRIES || !decodeEntries(batch.words, sink))
      return damaged('the journal holds what is no entry');
  }
  if (await journalReader.isDamaged()) return damaged(`its journal is damaged after ${journalReader.sizeBytes} bytes`);
  const isClean = journal.sizeBytes() === 0 && slots === table.slots;
  return { kind: 'loaded', point, snapshotBytes: reader.sizeBytes, isClean };
}

function damaged(reason: string): LoadedIndex {
  return { kind: 'damaged', reason };
}

class TableSink implements EntrySink {
  readonly #table: SlotTable;
  readonly states: Uint8Array;

  constructor(table: SlotTable) {
    this.#table = table;
    this.states = new Uint8Array(table.slots);
  }

  put(slot: number, line: number, mask: number, state: number, words: Uint32Array, checksumsAt: number): void {
    const table = this.#table;
    const fits = slot < table.slots;
    if (fits && mask !== 0 && table.lineAt(slot) === line) {
      table.clearPages(slot, 0xffff);
      this.states[slot] = state;
      table.restorePages(slot, mask, words, checksumsAt);
      return;
    }
    if (fits && table.isUsed(slot)) table.release(slot);
    if (mask === 0) return;
    // The line has moved here, also where the entry that says that it has left the other slot is lost, or the slot does not fit.
    const before = table.find(line);
    if (before >= 0) table.release(before);
    if (!fits) return;
    table.assign(slot, line);
    this.states[slot] = state;
    table.restorePages(slot, mask, words, checksumsAt);
  }
}
