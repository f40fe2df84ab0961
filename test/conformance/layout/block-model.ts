/**
 * What each block of a disk may hold after requests of which some failed: the set of its possible images. A write that
 * succeeded changes all of them; one that failed may have changed the block, whole, or not; a read rules out those it
 * contradicts.
 */

export interface ClaimedHole {
  readonly block: number;
  readonly start: number;
  readonly end: number;
}

/** One request and what came of it, in the order the requests were made. */
export interface Outcome {
  readonly kind: 'read' | 'write' | 'zero' | 'extents' | 'other';
  readonly offset: number;
  readonly length: number;
  /** What a write wrote, or what a read returned. */
  bytes: Buffer | null;
  ok: boolean;
  holes: readonly ClaimedHole[];
  /** How many requests had been made when this one was answered. */
  answeredAt: number;
}

interface OpenClaim extends ClaimedHole {
  readonly from: Outcome;
}

export class BlockModel {
  readonly blockSizeBytes: number;
  /** Block images as latin1 text. A block that is not here is zeros. */
  readonly #images = new Map<number, Set<string>>();
  readonly #zeros: string;
  #claims: OpenClaim[] = [];

  constructor(blockSizeBytes: number) {
    this.blockSizeBytes = blockSizeBytes;
    this.#zeros = '\0'.repeat(blockSizeBytes);
  }

  get touchedBlocks(): number[] {
    return [...this.#images.keys()];
  }

  imagesOf(block: number): ReadonlySet<string> {
    return this.#images.get(block) ?? new Set([this.#zeros]);
  }

  /** Takes the next request, the `index`th made; throws where its answer is not one the model allows. */
  take(outcome: Outcome, index: number): void {
    const { kind, offset, length, bytes, ok } = outcome;
    if (kind === 'extents') {
      this.#claims.push(...outcome.holes.map((hole) => ({ ...hole, from: outcome })));
    } else if (kind !== 'other') {
      for (let at = offset; at < offset + length; ) {
        const block = Math.floor(at / this.blockSizeBytes);
        const start = at - block * this.blockSizeBytes;
        const end = Math.min(this.blockSizeBytes, start + offset + length - at);
        const piece = bytes?.toString('latin1', at - offset, at - offset + end - start) ?? '\0'.repeat(end - start);
        if (kind !== 'read') this.#write(block, start, end, piece, ok);
        else if (ok) this.#read(block, start, end, piece, index);
        at += end - start;
      }
    }
    this.#settleClaims(index);
  }

  /** The block holds exactly `image`; throws where it cannot. */
  confirm(block: number, image: Buffer): void {
    const text = image.toString('latin1');
    if (this.imagesOf(block).has(text)) return;
    throw new Error(`block ${block} holds what was never its content: ${this.#describe(block, text)}`);
  }

  #write(block: number, start: number, end: number, piece: string, ok: boolean): void {
    const images = this.imagesOf(block);
    const next = new Set(ok ? [] : images);
    for (const image of images) next.add(image.slice(0, start) + piece + image.slice(end));
    if (next.size === 1 && next.has(this.#zeros)) this.#images.delete(block);
    else this.#images.set(block, next);
  }

  #read(block: number, start: number, end: number, piece: string, index: number): void {
    const images = this.imagesOf(block);
    const left = new Set([...images].filter((image) => image.slice(start, end) === piece));
    if (left.size === 0) {
      const text = `${'?'.repeat(start)}${piece}${'?'.repeat(this.blockSizeBytes - end)}`;
      throw new Error(`request ${index} read what block ${block} never held: ${this.#describe(block, text)}`);
    }
    if (left.size < images.size) this.#images.set(block, left);
  }

  /** A hole was a hole at some moment between the question and its answer. */
  #settleClaims(index: number): void {
    this.#claims = this.#claims.filter(({ block, start, end, from }) => {
      for (const image of this.imagesOf(block)) {
        if (image.slice(start, end) === this.#zeros.slice(start, end)) return false;
      }
      if (index + 1 < from.answeredAt) return true;
      throw new Error(`block ${block} was said to be a hole, and never was while that was asked`);
    });
  }

  #describe(block: number, found: string): string {
    const hex = (text: string): string => Buffer.from(text, 'latin1').toString('hex');
    return `${hex(found)}, possible: ${[...this.imagesOf(block)].map(hex).join(', ')}`;
  }
}
