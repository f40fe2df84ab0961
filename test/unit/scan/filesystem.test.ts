/** Which filesystem is on a disk, what is made of hostile ones, and the commands that find files. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { logicalRuns } from '../../../src/scan/btrfs-chunks.ts';
import type { ReadBytes } from '../../../src/scan/byte-reader.ts';
import { findFilesCommands, findFilesystem } from '../../../src/scan/filesystem.ts';
import { Random } from '../../support/random.ts';

const MIB = 1024 * 1024;

function reader(disk: Buffer): ReadBytes {
  return async (offset, length) => (offset + length > disk.length ? null : disk.subarray(offset, offset + length));
}

function withExt(disk: Buffer, at = 0): Buffer {
  disk.writeUInt16LE(0xef53, at + 1024 + 56);
  disk.writeUInt32LE(2, at + 1024 + 24);
  return disk;
}

function withMbr(disk: Buffer, sector: number, type = 0x83): Buffer {
  disk.writeUInt16LE(0xaa55, 510);
  disk.writeUInt8(type, 446 + 4);
  disk.writeUInt32LE(sector, 446 + 8);
  return disk;
}

/** One chunk of data at 1 MiB, kept twice; one of the system at 64 KiB, which holds the tree of chunks. */
function withBtrfs(disk: Buffer): Buffer {
  const at = 0x10000;
  disk.write('_BHRfS_M', at + 0x40, 'latin1');
  disk.writeBigUInt64LE(5_000_000n, at + 0x58);
  disk.writeUInt32LE(4096, at + 0x90);
  disk.writeUInt32LE(4096, at + 0x94);
  const chunk = (to: number, length: number, offsets: readonly number[]): number => {
    disk.writeBigUInt64LE(BigInt(length), to);
    disk.writeUInt16LE(offsets.length, to + 44);
    for (const [index, offset] of offsets.entries()) disk.writeBigUInt64LE(BigInt(offset), to + 48 + index * 32 + 8);
    return 48 + offsets.length * 32;
  };
  disk.writeBigUInt64LE(5_000_000n, at + 0x32b + 9);
  const systemBytes = chunk(at + 0x32b + 17, 65_536, [0x20000]);
  disk.writeUInt32LE(17 + systemBytes, at + 0xa0);
  // A leaf with one item.
  const leaf = 0x20000;
  disk.writeUInt32LE(1, leaf + 96);
  disk.writeUInt8(228, leaf + 101 + 8);
  disk.writeBigUInt64LE(9_000_000n, leaf + 101 + 9);
  disk.writeUInt32LE(1000, leaf + 101 + 17);
  chunk(leaf + 101 + 1000, MIB, [MIB, 2 * MIB]);
  return disk;
}

describe('findFilesystem', () => {
  test('knows ext4, xfs and btrfs, on the disk itself and in partitions', async () => {
    const ext = await findFilesystem(reader(withExt(Buffer.alloc(MIB))));
    assert.deepEqual([ext?.type, ext?.offset, ext?.blockSizeBytes], ['ext4', 0, 4096]);
    const part = await findFilesystem(reader(withExt(withMbr(Buffer.alloc(2 * MIB), 2048), MIB)));
    assert.deepEqual([part?.type, part?.offset], ['ext4', MIB]);
    const xfs = Buffer.alloc(MIB);
    xfs.write('XFSB', 0, 'latin1');
    xfs.writeUInt32BE(4096, 4);
    assert.equal((await findFilesystem(reader(xfs)))?.type, 'xfs');
    const btrfs = await findFilesystem(reader(withBtrfs(Buffer.alloc(4 * MIB))));
    assert.equal(btrfs?.type, 'btrfs');
    assert.deepEqual(logicalRuns(btrfs?.chunks ?? [], 2 * MIB + 4096, 8192), [{ logical: 9_004_096, length: 8192 }]);
    assert.equal(await findFilesystem(reader(Buffer.alloc(MIB))), null);
  });

  test('of a GPT the first partition that has one', async () => {
    const disk = withMbr(Buffer.alloc(4 * MIB), 1, 0xee);
    disk.write('EFI PART', 512, 'latin1');
    disk.writeBigUInt64LE(2n, 512 + 72);
    disk.writeUInt32LE(128, 512 + 80);
    disk.writeUInt32LE(128, 512 + 84);
    for (const [index, sector] of [2048n, 4096n].entries()) {
      disk.writeUInt8(1, 1024 + index * 128);
      disk.writeBigUInt64LE(sector, 1024 + index * 128 + 32);
    }
    withExt(disk, 2 * MIB);
    const found = await findFilesystem(reader(disk));
    assert.deepEqual([found?.type, found?.offset], ['ext4', 2 * MIB]);
  });

  test('ends, and throws nothing, whatever is on the disk', async () => {
    const random = new Random(7);
    for (let round = 0; round < 300; round++) {
      const disk = withBtrfs(withMbr(Buffer.alloc(4 * MIB), 1, random.pick([0x83, 0xee])));
      disk.write('EFI PART', 512, 'latin1');
      for (const [from, length] of [
        [446, 600],
        [0x10000 + 0x48, 0x400],
        [0x20000, 1200],
      ] as const) {
        for (let flips = random.below(40); flips > 0; flips--) disk[from + random.below(length)] = random.below(256);
      }
      const found = await findFilesystem(reader(disk));
      if (found !== null) findFilesCommands(found, random.below(4 * MIB), 1 + random.below(MIB), null);
    }
  });

  test('cannot be told where the superblock itself is damaged', async () => {
    assert.equal(await findFilesystem(async () => null), null);
  });
});

describe('the commands', () => {
  const fs = { offset: MIB, blockSizeBytes: 4096, chunks: [{ offset: 0, length: 8 * MIB, logical: 100 * MIB }] };

  test('name blocks of the filesystem, counted from its beginning', () => {
    assert.deepEqual(findFilesCommands({ ...fs, type: 'ext4' }, 2 * MIB, 8192, null), [
      `debugfs -R "icheck $(seq -s ' ' 256 257)" DEVICE | awk '$2 ~ /^[0-9]+$/ { print $2 }' | sort -nu | ` +
        `xargs -r sh -c 'debugfs -R "ncheck $*" DEVICE' sh`,
    ]);
    assert.deepEqual(findFilesCommands({ ...fs, type: 'xfs' }, 2 * MIB, 8192, { device: '/dev/loop3', dir: '/mnt' }), [
      "xfs_db -r -c 'blockget -n' -c 'daddr 2048' -c 'blockuse -n -c 2' /dev/loop3",
    ]);
    assert.deepEqual(
      findFilesCommands({ ...fs, type: 'btrfs' }, 2 * MIB, 8192, { device: '/dev/loop3', dir: '/mnt' }),
      [
        `for at in $(seq ${101 * MIB} 4096 ${101 * MIB + 8191}); do ` +
          'btrfs inspect-internal logical-resolve "$at" /mnt; done 2>/dev/null | sort -u',
      ],
    );
  });

  test('have nothing in them that a shell would take for more than a name', () => {
    const mounted = { device: "/dev/loop0'; rm -rf /; '", dir: '/mnt/$(reboot)' };
    for (const type of ['ext4', 'xfs', 'btrfs'] as const) {
      const text = findFilesCommands({ ...fs, type }, 2 * MIB, 8192, mounted).join('\n');
      assert.ok(!/reboot|rm -rf/.test(text), text);
      assert.match(text, /DEVICE|MOUNTPOINT/);
    }
  });

  test('leave out what lies before the filesystem, and do not grow without bound', () => {
    assert.deepEqual(findFilesCommands({ ...fs, type: 'ext4' }, 0, 4096, null), []);
    assert.equal(findFilesCommands({ ...fs, type: 'ext4' }, 0, 2 ** 40, null).length, 8);
  });
});
