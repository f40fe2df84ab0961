/**
 * Conversations several at a time over shared pools and a shared budget, without sockets, with devices that fail and answer
 * in any order: nothing throws or hangs, every answer is the one a simple reference gives, and in the end nothing is taken.
 */
import assert from 'node:assert/strict';
import { silentLog } from '../../../../src/lib/log.ts';
import { InFlightBudget, SharedBudget } from '../../../../src/nbd/in-flight-budget.ts';
import { PayloadPool } from '../../../../src/nbd/payload-pool.ts';
import { ReplyQueue, SlabPool } from '../../../../src/nbd/reply-queue.ts';
import { Session } from '../../../../src/nbd/session.ts';
import { TURN_COST, Turn } from '../../../../src/nbd/turns.ts';
import { Random } from '../../lease/random.ts';
import { tableOf } from '../export-table.ts';
import { check, isAmbiguous } from './check.ts';
import { someInput } from './conversation.ts';
import { FuzzDevice } from './fuzz-device.ts';
import { EXPORT_NAME, expect, SIZE } from './reference.ts';

/** Far more than any conversation takes. */
const STEPS_MAX = 1_000_000;

interface Shared {
  readonly budget: SharedBudget;
  readonly slabs: SlabPool;
  readonly payloads: PayloadPool;
}

/** A session with its client, its socket and its device, moved on step by step. */
class Lane {
  readonly #random: Random;
  readonly #input: Buffer;
  readonly #device: FuzzDevice;
  readonly #budget: InFlightBudget;
  readonly #replies: ReplyQueue;
  readonly #session: Session;
  readonly #turn = new Turn();
  readonly #vanishes: boolean;
  readonly #sent: Buffer[] = [];
  /** The pieces of the write under way, and what they held when it began. */
  #writing: { pieces: Buffer[]; held: Buffer } | undefined;
  #at = 0;
  #closed = false;

  constructor(random: Random, shared: Shared, bytesMax: number, input: Buffer) {
    this.#random = random;
    this.#input = input;
    this.#vanishes = random.chance(0.1);
    this.#device = new FuzzDevice(random, random.chance(0.7));
    this.#budget = new InFlightBudget(shared.budget, bytesMax, () => {
      this.#session.admitted();
    });
    this.#replies = new ReplyQueue(shared.slabs, (lent) => shared.payloads.give(lent));
    this.#session = new Session({
      exports: tableOf({ name: EXPORT_NAME, description: 'text', device: this.#device }),
      limits: { inFlightRequestsMax: random.int(1, 8), unsentBytesMax: [0, 100, 10_000, 1e6][random.int(0, 3)] ?? 0 },
      replies: this.#replies,
      budget: this.#budget,
      payloads: shared.payloads,
      turn: this.#turn,
      onNegotiated: () => {},
      onProgress: () => {},
      log: silentLog,
    });
  }

  get done(): boolean {
    return this.#closed && this.#device.pending === 0;
  }

  /** One thing that can happen next; false where there was none. */
  step(): boolean {
    if (this.#closed || (this.#device.pending > 0 && this.#random.chance(0.3))) {
      if (this.#device.pending === 0) return false;
      this.#device.completeOne();
      return true;
    }
    if (this.#vanishes && this.#random.chance(0.05)) {
      this.#close();
      return true;
    }
    // Other work than requests takes of a turn too, and the next one comes when it comes.
    if (this.#random.chance(0.02)) this.#turn.spend(TURN_COST);
    if (this.#turn.isOver && this.#random.chance(0.3)) {
      this.#turn.next();
      return true;
    }
    if (this.#random.chance(0.5) && this.#send()) return true;
    if (this.#feed() || this.#send()) return true;
    if (this.#device.pending > 0) {
      this.#device.completeOne();
      return true;
    }
    const session = this.#session;
    const waits = session.inFlight > 0 || !(session.idle || session.midPayload);
    if (waits || (this.#at < this.#input.length && !session.ended)) return false;
    if (!this.#vanishes) this.#checkAll();
    this.#close();
    return true;
  }

  #feed(): boolean {
    const session = this.#session;
    if (this.#at >= this.#input.length || session.ended) return false;
    const length = Math.min(this.#random.int(1, this.#random.chance(0.5) ? 60 : 60_000), this.#input.length - this.#at);
    if (session.missingPayload > 0 && this.#random.chance(0.5)) {
      const placed = Math.min(length, session.missingPayload);
      this.#input.copy(session.payloadRoom(), 0, this.#at, this.#at + placed);
      session.arrived(placed);
      this.#at += placed;
      return true;
    }
    // A buffer that is used again at once, as a socket's is.
    const buffer = Buffer.from(this.#input.subarray(this.#at, this.#at + length));
    const taken = session.feed(buffer, 0, length);
    buffer.fill(0xdd);
    this.#at += taken;
    return taken > 0;
  }

  #send(): boolean {
    if (this.#writing !== undefined) {
      const { pieces, held } = this.#writing;
      assert.ok(Buffer.concat(pieces).equals(held), 'what was being sent changed');
      this.#sent.push(held);
      this.#writing = undefined;
      const heldBytes = this.#replies.written();
      if (heldBytes > 0) this.#budget.give(heldBytes);
      return true;
    }
    if (this.#replies.queuedBytes === 0) return false;
    const pieces = this.#replies.nextBatch(this.#random.int(1, 100_000));
    this.#writing = { pieces, held: Buffer.concat(pieces) };
    return true;
  }

  #checkAll(): void {
    const bytes = Buffer.alloc(SIZE);
    const expected = expect(this.#input, bytes);
    if (isAmbiguous(expected)) return;
    check(Buffer.concat(this.#sent), expected);
    assert.equal(this.#session.ended, expected.ends);
    assert.ok(this.#device.bytes.equals(bytes), 'the device holds other bytes');
  }

  /** As a connection that has closed does it. */
  #close(): void {
    this.#closed = true;
    this.#budget.close();
    this.#session.abandon();
    const heldBytes = this.#replies.discard();
    if (heldBytes > 0) this.#budget.give(heldBytes);
  }
}

const tick = (): Promise<void> => new Promise((resolve) => process.nextTick(resolve));

/** Plays the conversations of a seed, up to three at a time; resolves with how many those were. */
export async function playSeed(seed: number): Promise<number> {
  const random = new Random(seed);
  const inputs = Array.from({ length: random.int(1, 3) }, () => someInput(random));
  await play(random, inputs);
  return inputs.length;
}

/** Plays one conversation; the seed decides how its bytes are split, what fails, and in which order answers come. */
export async function playInput(seed: number, input: Buffer): Promise<void> {
  await play(new Random(seed), [input]);
}

async function play(random: Random, inputs: readonly Buffer[]): Promise<void> {
  const bytesMax = random.int(1, 200_000);
  const shared = { budget: new SharedBudget(bytesMax), slabs: new SlabPool(3), payloads: new PayloadPool(200_000) };
  const lanes = inputs.map((input) => new Lane(random, shared, random.int(1, 200_000), input));
  for (let idle = 0, steps = 0; lanes.some(({ done }) => !done); steps++) {
    assert.ok(steps < STEPS_MAX, 'it goes on for ever');
    const lane = lanes[random.int(0, lanes.length - 1)];
    idle = lane?.step() ? 0 : idle + 1;
    if (idle > 0 || random.chance(0.3)) await tick();
    assert.ok(idle < 200, 'it hangs');
  }
  await tick();
  await tick();
  assert.equal(shared.budget.usedBytes, 0);
}
