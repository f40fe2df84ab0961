/**
 * The bytes of the cache rot while nobody looks: what is in the bucket is fetched again, what is not answers an error and is
 * told of, and never is a wrong byte returned. ROT_ROUNDS makes it longer, ROT_SEED repeats a run.
 */
import assert from 'node:assert/strict';
import { readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { Command, CommandFlag, NbdErrno } from '../../src/nbd/constants.ts';
import { RawClient } from '../conformance/nbd/raw-client.ts';
import type { Appliance } from '../support/appliance.ts';
import { formatSectors, SECTOR_BYTES } from '../support/sectors.ts';
import { CommandLine } from './support/command-line.ts';
import { DiskRig, type DiskVariant, type Section } from './support/disk-rig.ts';
import { filesBelow, flip, flipPages, rotSomewhere } from './support/rot.ts';

const KIB = 1024;
const MIB = 1024 * KIB;
const PAGE_BYTES = 4096;
const ROUNDS = Number(process.env.ROT_ROUNDS ?? 2);
const SEED = Number(process.env.ROT_SEED ?? Date.now() % 1_000_000);
const TIMEOUT_MS = 280_000 + ROUNDS * 20_000;
const THOROUGH = process.env.ROT_ROUNDS !== undefined;
const EXIT_DIRTY = 13;
const READY_MS = 120_000;
/** A connection of its own in the model. */
const WRITER = -3;
const VARIANT: DiskVariant = { name: '', on: 's3', blockBytes: 64 * KIB, diskBytes: 8 * MIB, cache: {} };
const SETTINGS: Section = { upload: { age: '1h', dirty: '256MiB' }, shutdown: { drain: '1s' } };

async function rigOf(t: TestContext, seed: number): Promise<DiskRig> {
  t.diagnostic(`ROT_SEED=${SEED}`);
  return DiskRig.make(t, VARIANT, SEED * 100 + seed, SETTINGS);
}

/** Both clean and dirty pages; stopped in good order, with the dirty ones safe in the log. Returns how to let them go. */
async function leaveDirty(rig: DiskRig): Promise<{ configFile: string; release: () => void }> {
  const appliance = await rig.start();
  await rig.loadFor(appliance, 500);
  await appliance.flush('disk');
  await rig.verify(appliance);
  const release = rig.holdBlocksBack();
  await rig.loadFor(appliance, 300);
  await rig.verify(appliance);
  const { code, stderr } = await appliance.stop();
  assert.equal(code, EXIT_DIRTY, stderr.slice(-2000));
  return { configFile: appliance.configFile, release };
}

/** Pages that cannot be read; anything else that is wrong is an error. */
async function unreadablePages(rig: DiskRig, appliance: Appliance): Promise<number[]> {
  const pages: number[] = [];
  await rig.verify(appliance, {
    stepBytes: PAGE_BYTES,
    onUnreadable: ({ offset, errno }) => {
      assert.equal(errno, NbdErrno.EIO);
      pages.push(offset / PAGE_BYTES);
    },
  });
  return pages;
}

/** Writes the pages, one by one; returns the bytes of each. */
async function writePages(rig: DiskRig, { socket }: Appliance, pages: readonly number[]): Promise<Buffer[]> {
  const client = await RawClient.attach({ path: socket }, { name: 'disk', framing: 'simple' });
  const sectors = PAGE_BYTES / SECTOR_BYTES;
  const written: Buffer[] = [];
  for (const page of pages) {
    const first = page * sectors;
    const payload = formatSectors(first, sectors, rig.model.nextSequence);
    const write = rig.model.beginWrite(WRITER, first, sectors, 'page written', { zeroes: false, fua: true });
    const request = { type: Command.WRITE, flags: CommandFlag.FUA, offset: page * PAGE_BYTES, payload };
    assert.equal((await client.request(request)).errno, 0);
    rig.model.endWrite(write, true);
    written.push(payload);
  }
  client.close();
  return written;
}

/** All of it is in the bucket, as the model has it. */
async function finish(rig: DiskRig, appliance: Appliance): Promise<void> {
  await appliance.flush('disk');
  await rig.verify(appliance);
  await rig.finish(appliance);
}

describe('bytes of the cache rot', () => {
  it('in the read cache: fetched again, and told', { timeout: TIMEOUT_MS }, async (t) => {
    const rig = await rigOf(t, 1);
    const first = await rig.start();
    await rig.loadFor(first, 800);
    await first.flush('disk');
    await rig.verify(first);
    await rig.kill(first);
    const damaged = flipPages(join(rig.cacheDir, 'lines'), 3, rig.random);
    assert.ok(damaged > 10, `${damaged} pages damaged`);
    const next = await rig.start();
    await rig.verify(next);
    assert.ok(next.logs.some(({ message }) => /cached pages could not be read back/.test(String(message))));
    // And while it is in use.
    flipPages(join(rig.cacheDir, 'lines'), 5, rig.random);
    await rig.loadFor(next, 500);
    t.diagnostic(`${damaged} cached pages damaged`);
    await finish(rig, next);
  });

  for (const how of ['killed', 'stopped'] as const) {
    it(`in the log of one that was ${how}: EIO for those pages, until they are written again`, {
      timeout: TIMEOUT_MS,
    }, async (t) => {
      const rig = await rigOf(t, 2);
      const release = rig.holdBlocksBack();
      const first = await rig.start();
      const written = Array.from({ length: 40 }, (_, index) => 7 + index * 11);
      const payloads = await writePages(rig, first, written);
      if (how === 'killed') await rig.kill(first);
      else assert.equal((await first.stop()).code, EXIT_DIRTY);
      // Not the last of them: that one could be torn by a crash just as well.
      const pages = written.filter((_, index) => index % 4 === 1);
      for (const page of pages) flipInLog(rig, payloads[written.indexOf(page)] as Buffer);
      const appliance = await rig.start();
      assert.deepEqual(await unreadablePages(rig, appliance), pages);
      assert.equal((await rig.status(appliance)).cache?.damagedPages, pages.length);
      assert.equal(appliance.logs.filter(({ event }) => event === 'damage-found').length, 1);

      // What is whole goes to the bucket; what is not, is remembered.
      release();
      await appliance.flush('disk');
      assert.deepEqual(await unreadablePages(rig, appliance), pages);
      await rig.kill(appliance);
      const next = await rig.start();
      assert.deepEqual(await unreadablePages(rig, next), pages);
      await writePages(rig, next, pages);
      assert.equal((await rig.status(next)).cache?.damagedPages, 0);
      await finish(rig, next);
    });
  }

  const skip = THOROUGH ? false : 'only where ROT_ROUNDS is set';
  it('anywhere: served, with EIO where it must be, or refused with the way out', {
    timeout: TIMEOUT_MS,
    skip,
  }, async (t) => {
    const counts = { sound: 0, unreadable: 0, refused: 0 };
    for (let round = 0; round < ROUNDS; round++) {
      const rig = await rigOf(t, 10 + round);
      const { configFile, release } = await leaveDirty(rig);
      const files = filesBelow(rig.cacheDir);
      const done: string[] = [];
      for (let left = rig.random.int(1, 3); left > 0; left--) {
        const file = files[rig.random.int(0, files.length - 1)] as string;
        // Most of the space set aside for the log and the cache was never used.
        const size = Math.min(statSync(file).size, 2 * MIB);
        done.push(`${file.slice(rig.cacheDir.length + 1)}: ${rotSomewhere(file, size, rig.random)}`);
      }
      t.diagnostic(`round ${round}: ${done.join(', ')}`);
      const trial = rig.beginStart({ configFile });
      const ready = await trial
        .until('it is ready', () => (trial.stderr.includes('"event":"ready"') ? true : undefined), READY_MS)
        .catch(() => false);
      if (!ready) {
        counts.refused++;
        assert.match(trial.stderr, /CORRUPT|damaged|another version/);
        assert.match(trial.stderr, /cache export|cache drop/, 'with the way out');
        const commandLine = new CommandLine(rig.dir, rig.config);
        assert.equal((await commandLine.run(['cache', 'drop', 'disk', '--force'])).code, 0);
        release();
        const emptied = await rig.start();
        assert.equal((await emptied.stop()).code, 0);
        continue;
      }
      await trial.stop('SIGKILL');
      const appliance = await rig.start();
      const pages = await unreadablePages(rig, appliance);
      if (pages.length > 0) counts.unreadable++;
      else counts.sound++;
      release();
      await writePages(rig, appliance, pages);
      await finish(rig, appliance);
    }
    t.diagnostic(
      `${counts.sound} served whole, ${counts.unreadable} with pages that cannot be read, ${counts.refused} refused`,
    );
  });
});

/** Changes a byte of the page where the log has it. */
function flipInLog(rig: DiskRig, page: Buffer): void {
  for (const file of filesBelow(join(rig.cacheDir, 'log'))) {
    const at = readFileSync(file).indexOf(page);
    if (at < 0) continue;
    flip(file, at + rig.random.int(0, page.length - 1));
    return;
  }
  throw new Error('the log does not have the page');
}
