/** The listing of a volume's blocks, after which blocks that never existed cost no request. */
import { describeError } from '../../lib/errors.ts';
import type { Log } from '../../lib/log.ts';
import type { ObjectStore } from '../../object/object-store.ts';
import type { BlockKeys } from './block-keys.ts';
import { listBlocks } from './block-listing.ts';
import { BlockStates, PRESENT, UNKNOWN } from './block-states.ts';
import type { EtagTable } from './etag-table.ts';

/** How far the listing of existing blocks has come. */
export interface SurveyStatus {
  readonly state: 'not run' | 'running' | 'done' | 'failed';
  readonly blocksListed: number;
}

export interface BlockSurveyOptions {
  readonly store: ObjectStore;
  readonly keys: BlockKeys;
  readonly states: BlockStates;
  readonly etags: EtagTable;
  readonly log: Log;
  /** Ends the listing. */
  readonly signal: AbortSignal;
}

/**
 * Blocks that are written while it runs keep what their writes made of them, however old the listing is: it settles only
 * those nobody has touched.
 */
export class BlockSurvey {
  readonly #options: BlockSurveyOptions;
  #status: SurveyStatus = { state: 'not run', blocksListed: 0 };
  #running: Promise<void> | null = null;
  /** What a listing under way says of blocks from here on is out of date: they have been cut off since it began. */
  #end = 0;
  /** What is asked for beside the states. */
  #old: { readonly since: Date; readonly blocks: BlockStates } | null = null;

  constructor(options: BlockSurveyOptions) {
    this.#options = options;
  }

  get status(): SurveyStatus {
    return this.#status;
  }

  /** The survey under way, or null. */
  get running(): Promise<void> | null {
    return this.#running;
  }

  /** Lists the first `blockCount` blocks, or joins the listing under way; once done it stays done. */
  run(blockCount: number): Promise<void> {
    if (this.#status.state === 'done') return Promise.resolve();
    this.#running ??= this.#list(blockCount).finally(() => {
      this.#running = null;
    });
    return this.#running;
  }

  /**
   * Runs it, and marks the blocks as PRESENT that were last changed before `since`. Not those that are not listed: they may have
   * been deleted since, and made again by us. It must not have been run before.
   */
  async unchangedSince(blockCount: number, since: Date): Promise<BlockStates> {
    const blocks = new BlockStates(blockCount);
    this.#old = { since, blocks };
    try {
      await this.run(blockCount);
    } finally {
      this.#old = null;
    }
    return blocks;
  }

  /** The volume ends here now. */
  cutOff(blockCount: number): void {
    this.#end = Math.min(this.#end, blockCount);
  }

  async #list(blockCount: number): Promise<void> {
    const { store, keys, states, etags, log, signal } = this.#options;
    const old = this.#old;
    let blocksListed = 0;
    this.#status = { state: 'running', blocksListed };
    this.#end = blockCount;
    try {
      for await (const blocks of listBlocks(store, keys, 0, blockCount, signal)) {
        for (const { block, lastModified, etag } of blocks) {
          if (block >= this.#end) continue;
          if (states.get(block) === UNKNOWN) etags.set(block, etag);
          states.noteListed(block);
          if (old !== null && lastModified !== undefined && lastModified < old.since) old.blocks.set(block, PRESENT);
        }
        blocksListed += blocks.length;
        this.#status = { state: 'running', blocksListed };
      }
      states.noteRestAbsent();
      this.#status = { state: 'done', blocksListed };
      log.debug('survey done', { blocksListed });
    } catch (error) {
      this.#status = { state: 'failed', blocksListed };
      if (!signal.aborted) log.warn('survey failed', { error: describeError(error) });
      throw error;
    }
  }
}
