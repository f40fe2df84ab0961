/** The conformance suite on the simulated disk, and that it does to a careless program all that a disk may do. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { SystemClock } from '../../../src/lib/clock.ts';
import type { Disk, DiskFile } from '../../../src/lib/disk.ts';
import { Random } from '../../support/random.ts';
import { SimDisk, type SimDiskOptions } from '../../support/sim-disk.ts';
import { VirtualClock } from '../../support/virtual-clock.ts';
import { diskSuite, fullDiskSuite } from './suite.ts';

const SECTOR = 512;
const ROUNDS = 300;

function newDisk(seed = 1, options: Partial<SimDiskOptions> = {}): SimDisk {
  return SimDisk.withDirectory('/cache', { clock: new SystemClock(), random: new Random(seed), ...options });
}

function contentOf(disk: Disk, path: string): Buffer {
  const file = disk.open(path);
  const content = Buffer.alloc(file.sizeBytes());
  file.readSync(content, 0);
  file.close();
  return content;
}

/** A disk with a synced file of 8 sectors of the letter a, open. */
async function withFile(
  seed: number,
  options: Partial<SimDiskOptions> = {},
): Promise<{ disk: SimDisk; file: DiskFile }> {
  const disk = newDisk(seed, options);
  const file = disk.open('/cache/file');
  file.writeSync(Buffer.alloc(8 * SECTOR, 'a'), 0);
  await file.datasync();
  await disk.syncDirectory('/cache');
  return { disk, file };
}

/** One letter for each sector, and ? for one that is mixed. */
function lettersOf(content: Buffer): string {
  let letters = '';
  for (let at = 0; at < content.length; at += SECTOR) {
    const sector = content.subarray(at, at + SECTOR);
    const [letter = 0] = sector;
    letters += sector.every((byte) => byte === letter) ? String.fromCharCode(letter) : '?';
  }
  return letters.replaceAll('\0', '0');
}

/** What is left over many power cuts, and how often. */
async function outcomes(round: (seed: number) => Promise<string>): Promise<Map<string, number>> {
  const seen = new Map<string, number>();
  for (let seed = 1; seed <= ROUNDS; seed++) {
    const outcome = await round(seed);
    seen.set(outcome, (seen.get(outcome) ?? 0) + 1);
  }
  return seen;
}

diskSuite('simulated', async () => ({ disk: newDisk(), directory: '/cache' }));
fullDiskSuite('simulated', async () => ({
  disk: newDisk(1, { capacityBytes: 8 * 1024 * 1024 }),
  directory: '/cache',
}));

describe('simulated disk: power cuts', () => {
  it('keep what was synced', async () => {
    for (let seed = 1; seed <= ROUNDS; seed++) {
      const { disk, file } = await withFile(seed);
      file.writeSync(Buffer.alloc(3 * SECTOR, 'b'), 2 * SECTOR);
      await file.datasync();
      assert.equal(lettersOf(contentOf(disk.crash(), '/cache/file')), 'aabbbaaa');
    }
  });

  it('lose and keep sectors of unsynced writes, in any order, and never a part of one', async () => {
    const seen = await outcomes(async (seed) => {
      const { disk, file } = await withFile(seed);
      file.writeSync(Buffer.alloc(4 * SECTOR, 'b'), 0);
      file.writeSync(Buffer.alloc(4 * SECTOR, 'c'), 2 * SECTOR);
      return lettersOf(contentOf(disk.crash(), '/cache/file'));
    });
    for (const outcome of seen.keys()) assert.match(outcome, /^[ab][ab][abc][abc][ac][ac]aa$/);
    for (const expected of ['aaaaaaaa', 'bbccccaa', 'bbbbaaaa', 'aaccccaa']) {
      assert.ok((seen.get(expected) ?? 0) > 0, `${expected} among ${[...seen.keys()].join(' ')}`);
    }
    assert.ok(seen.size > 30, `${seen.size} outcomes`);
  });

  it('never undo what was written before a later sync of the same file', async () => {
    for (let seed = 1; seed <= ROUNDS; seed++) {
      const { disk, file } = await withFile(seed);
      const write = file.write(Buffer.alloc(SECTOR, 'b'), 0);
      const early = file.datasync();
      await write;
      const sync = file.datasync();
      file.writeSync(Buffer.alloc(SECTOR, 'c'), SECTOR);
      await Promise.all([early, sync]);
      assert.match(lettersOf(contentOf(disk.crash(), '/cache/file')), /^b[ac]aaaaaa$/);
    }
  });

  it('may keep a part of a write under way', async () => {
    const seen = await outcomes(async (seed) => {
      const { disk, file } = await withFile(seed);
      void file.write(Buffer.alloc(2 * SECTOR, 'b'), 0);
      return lettersOf(contentOf(disk.crash(), '/cache/file'));
    });
    assert.deepEqual([...seen.keys()].sort(), ['aaaaaaaa', 'abaaaaaa', 'baaaaaaa', 'bbaaaaaa']);
  });

  it('undo growth and cuts of the size', async () => {
    const grown = await outcomes(async (seed) => {
      const { disk, file } = await withFile(seed);
      file.writeSync(Buffer.alloc(2 * SECTOR, 'b'), 8 * SECTOR);
      return lettersOf(contentOf(disk.crash(), '/cache/file'));
    });
    assert.deepEqual([...grown.keys()].sort(), ['aaaaaaaa', 'aaaaaaaa00', 'aaaaaaaa0b', 'aaaaaaaab0', 'aaaaaaaabb']);
    const cut = await outcomes(async (seed) => {
      const { disk, file } = await withFile(seed);
      file.truncate(2 * SECTOR);
      file.truncate(4 * SECTOR);
      return lettersOf(contentOf(disk.crash(), '/cache/file'));
    });
    assert.deepEqual([...cut.keys()].sort(), ['aa', 'aa00', 'aaaaaaaa']);
  });

  it('undo unsynced names, each rename as a whole', async () => {
    const seen = await outcomes(async (seed) => {
      const { disk } = await withFile(seed);
      const file = disk.open('/cache/new');
      file.writeSync(Buffer.alloc(SECTOR, 'n'), 0);
      await file.datasync();
      disk.rename('/cache/new', '/cache/file');
      const after = disk.crash();
      return after
        .list('/cache')
        .sort()
        .map((name) => `${name}=${lettersOf(contentOf(after, `/cache/${name}`))}`)
        .join(' ');
    });
    assert.deepEqual([...seen.keys()].sort(), ['file=aaaaaaaa', 'file=aaaaaaaa new=n', 'file=n']);
    const removed = await outcomes(async (seed) => {
      const { disk } = await withFile(seed);
      disk.remove('/cache/file');
      if (seed % 2 === 0) await disk.syncDirectory('/cache');
      return `${seed % 2 === 0 ? 'synced' : 'not synced'} ${disk.crash().exists('/cache/file')}`;
    });
    assert.deepEqual([...removed.keys()].sort(), ['not synced false', 'not synced true', 'synced false']);
  });

  it('take a directory away that was not synced into the one above, with all that is in it', async () => {
    const seen = await outcomes(async (seed) => {
      const disk = newDisk(seed);
      disk.makeDirectory('/cache/below');
      disk.open('/cache/below/file').close();
      await disk.syncDirectory('/cache/below');
      const after = disk.crash();
      return `${after.exists('/cache/below')} ${after.list('/cache/below').length}`;
    });
    assert.deepEqual([...seen.keys()].sort(), ['false 0', 'true 1']);
  });

  it('end the life of all handles: what still runs of it reaches nothing', async () => {
    const { disk, file } = await withFile(1);
    const underWay = file.datasync().then(
      () => 'resolved',
      () => 'rejected',
    );
    const after = disk.crash();
    assert.throws(() => file.writeSync(Buffer.alloc(1), 0), /life that has ended/);
    assert.throws(() => file.sizeBytes(), /life that has ended/);
    assert.throws(() => disk.open('/cache/file'), /life that has ended/);
    assert.throws(() => disk.exists('/cache/file'), /life that has ended/);
    await assert.rejects(file.datasync(), /life that has ended/);
    await assert.rejects(disk.syncDirectory('/cache'), /life that has ended/);
    file.close();
    const nothing = new Promise((resolve) => setTimeout(resolve, 5, 'nothing'));
    assert.equal(await Promise.race([underWay, nothing]), 'nothing');
    assert.equal(lettersOf(contentOf(after, '/cache/file')), 'aaaaaaaa');
  });
});

describe('simulated disk: a process that dies alone', () => {
  it('leaves what it wrote, synced or not, and a power cut later may still take that', async () => {
    const seen = await outcomes(async (seed) => {
      const { disk, file } = await withFile(seed);
      file.writeSync(Buffer.alloc(SECTOR, 'b'), 0);
      const next = disk.kill();
      assert.equal(lettersOf(contentOf(next, '/cache/file')), 'baaaaaaa');
      return lettersOf(contentOf(next.crash(), '/cache/file'));
    });
    assert.deepEqual([...seen.keys()].sort(), ['aaaaaaaa', 'baaaaaaa']);
  });

  it('leaves a write that was under way done up to anywhere', async () => {
    const seen = await outcomes(async (seed) => {
      const { disk, file } = await withFile(seed);
      void file.write(Buffer.alloc(2 * SECTOR, 'b'), 0);
      return lettersOf(contentOf(disk.kill(), '/cache/file'));
    });
    assert.ok(seen.has('aaaaaaaa') || seen.has('?aaaaaaa'));
    for (const outcome of seen.keys()) assert.match(outcome, /^(bb|b\?|\?a|ba|aa)aaaaaa$/);
  });
});

describe('simulated disk: faults', () => {
  it('a sync that fails has lost some of it for good: reads show it, and syncing again does not help', async () => {
    const seen = await outcomes(async (seed) => {
      const { disk, file } = await withFile(seed);
      file.writeSync(Buffer.alloc(2 * SECTOR, 'b'), 0);
      disk.faults = { ...disk.faults, sync: 1 };
      await assert.rejects(file.datasync(), { code: 'UNAVAILABLE', retryable: false });
      disk.faults = { ...disk.faults, sync: 0 };
      assert.equal(lettersOf(contentOf(disk, '/cache/file')), 'bbaaaaaa');
      await file.datasync();
      file.writeSync(Buffer.alloc(SECTOR, 'c'), 4 * SECTOR);
      await file.datasync();
      return lettersOf(contentOf(disk.crash(), '/cache/file'));
    });
    assert.deepEqual([...seen.keys()].sort(), ['aaaacaaa', 'abaacaaa', 'baaacaaa', 'bbaacaaa']);
  });

  it('what is written again after a failed sync is durable after the next', async () => {
    for (let seed = 1; seed <= ROUNDS; seed++) {
      const { disk, file } = await withFile(seed);
      file.writeSync(Buffer.alloc(9 * SECTOR, 'b'), 0);
      disk.faults = { ...disk.faults, sync: 1 };
      await assert.rejects(file.datasync());
      disk.faults = { ...disk.faults, sync: 0 };
      file.writeSync(Buffer.alloc(9 * SECTOR, 'c'), 0);
      await file.datasync();
      assert.equal(lettersOf(contentOf(disk.crash(), '/cache/file')), 'ccccccccc');
    }
  });

  it('reads and writes fail, and a write that fails may be there in part', async () => {
    const seen = await outcomes(async (seed) => {
      const { disk, file } = await withFile(seed);
      disk.faults = { read: 1, write: 1, sync: 0, names: 0 };
      const error = { code: 'UNAVAILABLE', retryable: false, message: /cache\/file/ };
      assert.throws(() => file.readSync(Buffer.alloc(1), 0), error);
      await assert.rejects(file.read(Buffer.alloc(1), 0), error);
      assert.throws(() => file.writeSync(Buffer.alloc(2 * SECTOR, 'b'), 0), error);
      disk.faults = { read: 0, write: 0, sync: 0, names: 0 };
      return lettersOf(contentOf(disk, '/cache/file')).slice(0, 3);
    });
    for (const outcome of seen.keys()) assert.match(outcome, /^(b[b?a]|\?a|aa)a$/);
    assert.ok(seen.size >= 2);
  });

  it('rots: a bit flips in what was durable, and a sector cannot be read until it is written', async () => {
    const { disk, file } = await withFile(1);
    disk.flipBit('/cache/file', 3 * SECTOR + 7);
    const rotten = contentOf(disk, '/cache/file');
    assert.equal(lettersOf(rotten), 'aaa?aaaa');
    assert.ok(contentOf(disk.crash(), '/cache/file').equals(rotten));

    const { disk: other, file: broken } = await withFile(2);
    other.breakSector('/cache/file', 2 * SECTOR);
    const target = Buffer.alloc(SECTOR);
    assert.equal(broken.readSync(target, SECTOR), SECTOR);
    assert.throws(() => broken.readSync(target, 2 * SECTOR + 100), { code: 'UNAVAILABLE' });
    broken.writeSync(Buffer.alloc(SECTOR, 'b'), 2 * SECTOR);
    assert.equal(broken.readSync(target, 2 * SECTOR), SECTOR);
    file.close();
  });

  it('takes its time, on the clock it was given', async () => {
    const clock = new VirtualClock();
    const { disk } = await withFile(1);
    const slow = disk.crash({ clock, latencyMs: (operation) => (operation === 'sync' ? 500 : 20) });
    const file = slow.open('/cache/file');
    const target = Buffer.alloc(SECTOR);
    const read = file.read(target, 0).then(() => clock.now());
    assert.notEqual(target[0], 'a'.charCodeAt(0), 'the bytes are not there before the call has ended');
    const sync = file.datasync().then(() => clock.now());
    assert.deepEqual(await clock.run(Promise.all([read, sync])), [20, 500]);
  });

  it('notices a buffer that is changed while it is being written', async () => {
    const noticed: Error[] = [];
    const { file } = await withFile(1, { onChanged: (error) => noticed.push(error) });
    const source = Buffer.alloc(SECTOR, 'b');
    const write = file.write(source, 0);
    source.fill('c');
    await assert.rejects(write, /was changed meanwhile/);
    assert.equal(noticed.length, 1);
  });

  it('does the same again with the same seed', async () => {
    const run = async (): Promise<string> => {
      const { disk, file } = await withFile(77);
      for (let at = 0; at < 50; at++) file.writeSync(Buffer.alloc(700, at), at * 300);
      return contentOf(disk.crash().crash(), '/cache/file').toString('hex');
    };
    assert.equal(await run(), await run());
  });
});
