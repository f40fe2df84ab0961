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
  #writing: Promise<void> | null = null;

  constructor(buffer: Buffer, position: number, limitBytes: number) {
    this.buffer = buffer;
    this.position = position;
    this.limitBytes = limitBytes;
  }

  /**
   * Resolves once what was handed over is written, and is null from then on; rejects where that failed, for as long as it
   * has not been handed over once more.
   */
  get writing(): Promise<void> | null {
    return this.#writing;
  }

  set writing(writing: Promise<void> | null) {
    this.#writing = writing;
    const written = (): void => {
      if (this.#writing === writing) this.#writing = null;
    };
    writing?.then(written, () => {});
  }

  get end(): number {
    return this.position + this.usedBytes;
  }

  holds(position: number): boolean {
    return this.position <= position && position < this.end;
  }
}
