/** A volume as a block device, one way or the other: attached, known again by what the kernel tells of it, and detached. */
import { existsSync, readdirSync } from 'node:fs';
import { basename } from 'node:path';
import type { Clock } from '../lib/clock.ts';
import { readMountTable } from '../lib/mount-table.ts';
import { attachLoop, detachLoop, loopFile, loopSequence } from './loop-device.ts';
import type { MountRecord } from './mount-records.ts';
import { attachNbd, cutNbd, detachNbd, nbdPid } from './nbd-device.ts';

export type AttachedRecord = MountRecord & { readonly device: string };

export interface AttachOptions {
  readonly readOnly: boolean;
  readonly signal?: AbortSignal;
  /** Told which device is about to be attached, before it is. */
  readonly onTry: (record: AttachedRecord) => void;
}

/** The record with the device to which what the plan names is attached. */
export async function attach(plan: MountRecord, { onTry, ...options }: AttachOptions): Promise<AttachedRecord> {
  const { via, file, volume } = plan;
  const tell = (device: string): void => onTry({ ...plan, device });
  if (via === 'fuse') {
    const device = await attachLoop(file, { ...options, onTry: tell });
    return { ...plan, device, sequence: loopSequence(device) };
  }
  return { ...plan, ...(await attachNbd({ ...options, socket: file, exportName: volume, onTry: tell })) };
}

/** Whether the kernel bears the record out: the device may be detached, or another's, by now. */
export function isAttached(record: MountRecord): record is AttachedRecord {
  const { via, file, device, pid, sequence } = record;
  if (device === null) return false;
  if (via === 'nbd') return pid !== null && nbdPid(device) === pid;
  return sequence === null ? loopFile(device) === file : loopSequence(device) === sequence;
}

/**
 * Whether a filesystem has the device: one that is mounted anywhere we see, and of the common ones also after a lazy unmount. By
 * what the kernel tells: opening the device, and closing it again, could ask us for blocks while we wait for it.
 */
export function isHeld(device: string): boolean {
  const name = basename(device);
  if (readMountTable().some(({ source }) => source === device)) return true;
  if (existsSync(`/sys/fs/ext4/${name}`) || existsSync(`/sys/fs/xfs/${name}`)) return true;
  if (!existsSync('/sys/fs/btrfs')) return false;
  return readdirSync('/sys/fs/btrfs').some((id) => existsSync(`/sys/fs/btrfs/${id}/devices/${name}`));
}

/** Has whatever waits for a server that is gone fail. A loop device needs none of that: its file fails at once. */
export async function cut({ via, device }: AttachedRecord): Promise<void> {
  if (via === 'nbd') await cutNbd(device);
}

/** Waits until the kernel has let go. HELD where the device is still in use. */
export async function detach({ via, device }: AttachedRecord, clock: Clock): Promise<void> {
  if (via === 'nbd') await detachNbd(device, clock);
  else await detachLoop(device, clock);
}
