/** A stretch of the log in memory: records are put together here, and stay until they are durable. */

export class Slab {
  readonly buffer: Buffer;
  /** Where in the log the buffer begins. */
  readonly position: number;
  /** How much of the buffer this stretch may use. */
  readonly limitBytes: number;
  usedBytes = 0;
  /** How much of it has been handed to the disk. */
  submittedBytes = 0;
  /** Resolves once what was handed over is written; rejects where that failed. */
  writing: Promise<void> | null = null;

  constructor(buffer: Buffer, position: number, limitBytes: number) {
    this.buffer = buffer;
    this.position = position;
    this.limitBytes = limitBytes;
  }

  get end(): number {
    return this.position + this.usedBytes;
  }

  holds(position: number): boolean {
    return this.position <= position && position < this.end;
  }
}
