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
  readonly kind: 'read' | 'peek' | 'write' | 'zero' | 'extents' | 'other';
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

/** What a block may have held once a write had changed it. */
interface Change {
  readonly index: number;
  readonly by: Outcome;
  readonly images: ReadonlySet<string>;
}

/** A piece of a block that was peeked at by the `index`th request. */
interface Peeked {
  readonly index: number;
  readonly block: number;
  readonly start: number;
  readonly end: number;
  readonly piece: string;
}

export class BlockModel {
  readonly blockSizeBytes: number;
  /** Block images as latin1 text. A block that is not here is zeros. */
  readonly #images = new Map<number, Set<string>>();
  readonly #zeros: string;
  #claims: OpenClaim[] = [];
  /** Of each block, in the order made. */
  readonly #changes = new Map<number, Change[]>();
  readonly #peeked: Peeked[] = [];

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
        if (kind === 'write' || kind === 'zero') this.#write(block, start, end, piece, index, outcome);
        else if (ok && kind === 'read') this.#read(block, start, end, piece, index);
        else if (ok) this.#peeked.push({ index, block, start, end, piece });
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

  /** To be called at the end. A peek saw what some of the writes under way then had done, and none made later; throws where it did not. */
  confirmPeeks(): void {
    for (const { index, block, start, end, piece } of this.#peeked) {
      const changes = this.#changes.get(block) ?? [];
      // Those that had been made before, but not been answered, may or may not have been done.
      const open = changes.findIndex((change) => change.index > index || change.by.answeredAt > index);
      const possible = (open < 0 ? changes.slice(-1) : changes.slice(Math.max(0, open - 1))).filter(
        (change) => change.index < index,
      );
      const images = possible.flatMap((change) => [...change.images]);
      if (open === 0 || changes.length === 0) images.push(this.#zeros);
      if (images.some((image) => image.slice(start, end) === piece)) continue;
      throw new Error(`request ${index} peeked at what block ${block} did not hold then`);
    }
  }

  #write(block: number, start: number, end: number, piece: string, index: number, by: Outcome): void {
    const images = this.imagesOf(block);
    const next = new Set(by.ok ? [] : images);
    for (const image of images) next.add(image.slice(0, start) + piece + image.slice(end));
    if (next.size === 1 && next.has(this.#zeros)) this.#images.delete(block);
    else this.#images.set(block, next);
    const changes = this.#changes.get(block) ?? [];
    changes.push({ index, by, images: next });
    this.#changes.set(block, changes);
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
