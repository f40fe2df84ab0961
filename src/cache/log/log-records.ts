/** What is known in memory of every record that the log still needs: a few words each, in typed arrays. */
import { DATA, pagesTouched, RECORD_HEADER_BYTES, type RecordKind } from './log-record.ts';

const CAPACITY_MIN = 256;
const CHECKSUM_BYTES = 4;

export interface NewRecord {
  readonly position: number;
  readonly kind: RecordKind;
  readonly offset: number;
  readonly length: number;
  readonly previousChecksum: number;
  /** When it was appended, by the clock. */
  readonly atMs: number;
}

/**
 * Records have consecutive numbers; those from `first` up to `end` are kept. A number keeps its place in the arrays modulo
 * their length, so dropping the oldest moves nothing.
 */
export class LogRecords {
  #first: number;
  #end: number;
  #capacity = CAPACITY_MIN;
  #position = new Float64Array(CAPACITY_MIN);
  #offset = new Float64Array(CAPACITY_MIN);
  #length = new Float64Array(CAPACITY_MIN);
  #appendedAtMs = new Float64Array(CAPACITY_MIN);
  #kind = new Uint8Array(CAPACITY_MIN);
  /** Of the header of the record before. */
  #previousChecksum = new Uint32Array(CAPACITY_MIN);
  /** Counts every checksum there ever was, as numbers count records. */
  #checksumAt = new Float64Array(CAPACITY_MIN);
  #checksums = new Uint32Array(CAPACITY_MIN);
  #checksumEnd = 0;

  constructor(first: number) {
    this.#first = first;
    this.#end = first;
  }

  get first(): number {
    return this.#first;
  }

  /** The number the next record will have. */
  get end(): number {
    return this.#end;
  }

  /** Adds a record with room for its checksums, and returns its number. */
  add(record: NewRecord): number {
    const { position, kind, offset, length, previousChecksum, atMs } = record;
    const checksums = kind === DATA ? pagesTouched(offset, length) : 0;
    if (this.#end - this.#first === this.#capacity) this.#growRecords();
    if (this.#checksumEnd + checksums - this.#checksumFirst() > this.#checksums.length) this.#growChecksums(checksums);
    const number = this.#end;
    const at = number % this.#capacity;
    this.#position[at] = position;
    this.#offset[at] = offset;
    this.#length[at] = length;
    this.#appendedAtMs[at] = atMs;
    this.#kind[at] = kind;
    this.#previousChecksum[at] = previousChecksum;
    this.#checksumAt[at] = this.#checksumEnd;
    this.#checksumEnd += checksums;
    this.#end++;
    return number;
  }

  setChecksum(number: number, index: number, checksum: number): void {
    this.#checksums[(this.#checksumAtOf(number) + index) % this.#checksums.length] = checksum;
  }

  checksum(number: number, index: number): number {
    return this.#checksums[(this.#checksumAtOf(number) + index) % this.#checksums.length] as number;
  }

  position(number: number): number {
    return this.#position[number % this.#capacity] as number;
  }

  offset(number: number): number {
    return this.#offset[number % this.#capacity] as number;
  }

  length(number: number): number {
    return this.#length[number % this.#capacity] as number;
  }

  appendedAtMs(number: number): number {
    return this.#appendedAtMs[number % this.#capacity] as number;
  }

  /** Of the header of the record before. */
  previousChecksum(number: number): number {
    return this.#previousChecksum[number % this.#capacity] as number;
  }

  kind(number: number): RecordKind {
    return this.#kind[number % this.#capacity] as RecordKind;
  }

  /** Where in the log the record's data begins. */
  dataPosition(number: number): number {
    const checksums = this.kind(number) === DATA ? pagesTouched(this.offset(number), this.length(number)) : 0;
    return this.position(number) + RECORD_HEADER_BYTES + checksums * CHECKSUM_BYTES;
  }

  /** Whether one of them is of bytes of the volume from `sizeBytes` on. */
  reachBeyond(sizeBytes: number): boolean {
    for (let number = this.#first; number < this.#end; number++) {
      if (this.offset(number) + this.length(number) > sizeBytes) return true;
    }
    return false;
  }

  /** Forgets the records before `first`. */
  dropBefore(first: number): void {
    this.#first = Math.max(this.#first, Math.min(first, this.#end));
  }

  #checksumAtOf(number: number): number {
    return this.#checksumAt[number % this.#capacity] as number;
  }

  #checksumFirst(): number {
    return this.#first === this.#end ? this.#checksumEnd : this.#checksumAtOf(this.#first);
  }

  #growRecords(): void {
    const capacity = this.#capacity * 2;
    const move = <T extends Float64Array | Uint8Array | Uint32Array>(from: T, to: T): T => {
      for (let number = this.#first; number < this.#end; number++) {
        to[number % capacity] = from[number % this.#capacity] as number;
      }
      return to;
    };
    this.#position = move(this.#position, new Float64Array(capacity));
    this.#offset = move(this.#offset, new Float64Array(capacity));
    this.#length = move(this.#length, new Float64Array(capacity));
    this.#appendedAtMs = move(this.#appendedAtMs, new Float64Array(capacity));
    this.#kind = move(this.#kind, new Uint8Array(capacity));
    this.#previousChecksum = move(this.#previousChecksum, new Uint32Array(capacity));
    this.#checksumAt = move(this.#checksumAt, new Float64Array(capacity));
    this.#capacity = capacity;
  }

  #growChecksums(more: number): void {
    const first = this.#checksumFirst();
    let capacity = this.#checksums.length;
    while (capacity < this.#checksumEnd + more - first) capacity *= 2;
    const checksums = new Uint32Array(capacity);
    for (let at = first; at < this.#checksumEnd; at++) {
      checksums[at % capacity] = this.#checksums[at % this.#checksums.length] as number;
    }
    this.#checksums = checksums;
  }
}
