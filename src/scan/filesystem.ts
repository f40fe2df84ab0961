/** Which filesystem a volume carries, and the commands that tell which of its files some bytes are in. */

import { BTRFS_SUPER_AT, BTRFS_SUPER_BYTES, type Chunk, logicalRuns, readChunks } from './btrfs-chunks.ts';
import type { ReadBytes } from './byte-reader.ts';
import { partitionOffsets } from './partitions.ts';
import type { FoundFilesystem } from './scan-report.ts';

const EXT_SUPER_AT = 1024;
const EXT_MAGIC = 0xef53;
const BTRFS_MAGIC = '_BHRfS_M';
const XFS_MAGIC = 'XFSB';
const XFS_SECTOR_BYTES = 512;
/** As many numbers as one argument of a command may have. */
const BLOCKS_PER_COMMAND = 8192;
const COMMANDS_MAX = 8;

export interface Filesystem extends FoundFilesystem {
  /** Of btrfs. */
  readonly chunks: readonly Chunk[];
}

/** The filesystem of the disk, or that of its first partition that has one we know; null where there is none. */
export async function findFilesystem(read: ReadBytes): Promise<Filesystem | null> {
  for (const offset of [0, ...(await partitionOffsets(read))]) {
    const found = (await findExt(read, offset)) ?? (await findXfs(read, offset)) ?? (await findBtrfs(read, offset));
    if (found !== null) return found;
  }
  return null;
}

/**
 * Commands for a shell that tell which files the bytes of the volume from `offset` on are in. Where it is not known what the
 * filesystem is on and where it is mounted, or the names need quoting, they have words for the reader to replace.
 */
export function findFilesCommands(
  filesystem: Filesystem,
  offset: number,
  length: number,
  mounted: { readonly device: string; readonly dir: string } | null,
): string[] {
  const device = plainWord(mounted?.device) ?? 'DEVICE';
  const dir = plainWord(mounted?.dir) ?? 'MOUNTPOINT';
  const from = Math.max(0, offset - filesystem.offset);
  const end = offset + length - filesystem.offset;
  if (end <= 0) return [];
  const blockBytes = filesystem.blockSizeBytes;
  const first = Math.floor(from / blockBytes);
  const last = Math.ceil(end / blockBytes) - 1;
  if (filesystem.type === 'ext4') return extCommands(first, last, device);
  if (filesystem.type === 'xfs') return [xfsCommand(first, last, blockBytes, device)];
  return logicalRuns(filesystem.chunks, from, end - from)
    .slice(0, COMMANDS_MAX)
    .map((run) => btrfsCommand(run, blockBytes, dir));
}

function extCommands(first: number, last: number, device: string): string[] {
  const commands: string[] = [];
  for (let at = first; at <= last && commands.length < COMMANDS_MAX; at += BLOCKS_PER_COMMAND) {
    const to = Math.min(last, at + BLOCKS_PER_COMMAND - 1);
    commands.push(
      `debugfs -R "icheck $(seq -s ' ' ${at} ${to})" ${device} | awk '$2 ~ /^[0-9]+$/ { print $2 }' | sort -nu | ` +
        `xargs -r sh -c 'debugfs -R "ncheck $*" ${device}' sh`,
    );
  }
  return commands;
}

function xfsCommand(first: number, last: number, blockBytes: number, device: string): string {
  const sector = (first * blockBytes) / XFS_SECTOR_BYTES;
  return `xfs_db -r -c 'blockget -n' -c 'daddr ${sector}' -c 'blockuse -n -c ${last - first + 1}' ${device}`;
}

function btrfsCommand({ logical, length }: { logical: number; length: number }, step: number, dir: string): string {
  const last = logical + length - 1;
  return (
    `for at in $(seq ${logical} ${step} ${last}); do ` +
    `btrfs inspect-internal logical-resolve "$at" ${dir}; done 2>/dev/null | sort -u`
  );
}

async function findExt(read: ReadBytes, offset: number): Promise<Filesystem | null> {
  const superblock = await read(offset + EXT_SUPER_AT, 1024);
  if (superblock === null || superblock.readUInt16LE(56) !== EXT_MAGIC) return null;
  const log = superblock.readUInt32LE(24);
  if (log > 6) return null;
  return { type: 'ext4', offset, blockSizeBytes: 1024 << log, chunks: [] };
}

async function findXfs(read: ReadBytes, offset: number): Promise<Filesystem | null> {
  const superblock = await read(offset, 512);
  if (superblock === null || superblock.toString('latin1', 0, 4) !== XFS_MAGIC) return null;
  const blockSizeBytes = superblock.readUInt32BE(4);
  if (!isBlockSize(blockSizeBytes)) return null;
  return { type: 'xfs', offset, blockSizeBytes, chunks: [] };
}

async function findBtrfs(read: ReadBytes, offset: number): Promise<Filesystem | null> {
  const superblock = await read(offset + BTRFS_SUPER_AT, BTRFS_SUPER_BYTES);
  if (superblock === null || superblock.toString('latin1', 0x40, 0x48) !== BTRFS_MAGIC) return null;
  const blockSizeBytes = superblock.readUInt32LE(0x90);
  if (!isBlockSize(blockSizeBytes)) return null;
  return { type: 'btrfs', offset, blockSizeBytes, chunks: await readChunks(read, offset, superblock) };
}

function isBlockSize(bytes: number): boolean {
  return bytes >= 512 && bytes <= 65_536 && (bytes & (bytes - 1)) === 0;
}

/** It goes into a command that somebody will run. */
function plainWord(text: string | undefined): string | null {
  return text !== undefined && /^\/[\w./:@-]+$/.test(text) ? text : null;
}
