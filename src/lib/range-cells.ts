/** A range of bytes cut into equal cells, and how many bytes of something each of them has: what a picture of a disk is made of. */

/** Steps between two turns that a tally gives to others: well under a millisecond. */
export const TALLY_STEPS = 64 * 1024;

/** What goes through large tables to count something; it stops now and then, so that others get their turn. */
export type Tally = Generator<void, void, void>;

export class RangeCells {
  readonly offset: number;
  readonly end: number;
  /** Of each cell; the last one may be shorter. */
  readonly cellBytes: number;
  readonly counts: Float64Array;

  /** At most `cellsMax` cells, each a multiple of `unitBytes`. */
  constructor(offset: number, end: number, cellsMax: number, unitBytes: number) {
    this.offset = offset;
    this.end = end;
    this.cellBytes = unitBytes * Math.max(1, Math.ceil((end - offset) / unitBytes / cellsMax));
    this.counts = new Float64Array(Math.ceil((end - offset) / this.cellBytes));
  }

  /** Adds the bytes of [from, to), as far as they are in the range. */
  add(from: number, to: number): void {
    const { offset, cellBytes, counts } = this;
    const end = Math.min(to, this.end);
    for (let at = Math.max(from, offset); at < end; ) {
      const cell = Math.floor((at - offset) / cellBytes);
      const until = Math.min(end, offset + (cell + 1) * cellBytes);
      counts[cell] = (counts[cell] as number) + until - at;
      at = until;
    }
  }

  /** How many bytes the cell is of. */
  bytesOf(cell: number): number {
    const from = this.offset + cell * this.cellBytes;
    return Math.min(this.end, from + this.cellBytes) - from;
  }
}
