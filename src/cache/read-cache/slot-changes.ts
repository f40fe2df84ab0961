/** Which slots have changed: since the last checkpoint, and since the snapshot that is being written was begun. */
import { Bitmap } from './bitmap.ts';
import type { SlotChanges } from './slot-table.ts';

export class ChangedSlots implements SlotChanges {
  /** Not in the journal yet. */
  readonly journal: Bitmap;
  /** To be written once more at the end of the snapshot. Kept up only while one is being written. */
  readonly snapshot: Bitmap;
  isSnapshotUnderWay = false;

  constructor(slots: number) {
    this.journal = new Bitmap(slots);
    this.snapshot = new Bitmap(slots);
  }

  mark(slot: number): void {
    this.journal.add(slot);
    if (this.isSnapshotUnderWay) this.snapshot.add(slot);
  }
}
