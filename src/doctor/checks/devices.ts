/** Checks of what attaching and mounting need of the kernel: FUSE, loop devices, its NBD client, propagation of mounts. */
import { dirname } from 'node:path';
import type { MountEntry } from '../../lib/mount-table.ts';
import { fail, ok, type Result, warn } from '../finding.ts';
import type { Machine } from '../machine.ts';

const FUSE_DEVICE = '/dev/fuse';

/** `needed`: the configuration asks for it. */
export function checkFuse(machine: Machine, needed: boolean): Result[] {
  const error = machine.openError(FUSE_DEVICE);
  const missing = error === 'ENOENT' || error === 'ENODEV' || error === 'ENXIO';
  const problem = needed ? fail : warn;
  if (error !== null) {
    const purpose = needed ? 'fuse.dir needs it' : 'only volumes as files, and mount --via fuse, need it';
    const why = missing ? 'is not there' : `cannot be opened (${error})`;
    const remedy = missing
      ? 'load it with "modprobe fuse"; a container needs --device /dev/fuse'
      : 'run it as root; a container needs --device /dev/fuse and --cap-add SYS_ADMIN';
    return [problem(`${FUSE_DEVICE} ${why}; ${purpose}`, remedy)];
  }
  if (machine.program('mount') === null || machine.program('umount') === null) {
    return [problem('the programs mount and umount are not installed', 'install the package "mount"')];
  }
  return [ok(`${FUSE_DEVICE} can be opened`)];
}

export function checkLoop(machine: Machine): Result[] {
  const purpose = 'only "bucketdisk mount" by FUSE needs loop devices';
  const error = machine.openError('/dev/loop-control');
  if (error !== null) {
    const remedy = 'load them with "modprobe loop"; a container needs --device /dev/loop-control and the devices';
    return [warn(`/dev/loop-control cannot be opened (${error}); ${purpose}`, remedy)];
  }
  if (machine.program('losetup') === null) {
    return [warn(`the program losetup is not installed; ${purpose}`, 'install the package "mount" or "util-linux"')];
  }
  return [ok('loop devices are there')];
}

export function checkNbd(machine: Machine): Result[] {
  const purpose = "only the kernel's own NBD client needs it; other clients and FUSE do not";
  if (machine.stat('/sys/module/nbd') === null && machine.stat('/dev/nbd0') === null) {
    return [
      warn(
        `the kernel module nbd is not loaded; ${purpose}`,
        'load it with "modprobe nbd nbds_max=16", where this kernel has it',
      ),
    ];
  }
  if (machine.program('nbd-client') === null) {
    return [warn(`the program nbd-client is not installed; ${purpose}`, 'install the package "nbd-client"')];
  }
  return [ok('the kernel module nbd and nbd-client are there')];
}

/** Whether what is mounted on `dir` is seen outside the container, or the namespace, that it is mounted in. */
export function checkPropagation(table: readonly MountEntry[], dir: string, inContainer: boolean): Result[] {
  const parent = mountOf(table, dir);
  if (parent === undefined) return [warn(`it cannot be told what ${dir} is on`)];
  if (parent.shared) return [ok(`mounts below ${parent.path} are shared: others see them too`)];
  const seen = inContainer ? 'in this container' : 'in this mount namespace';
  const message = `mounts below ${parent.path} are private: what is mounted there is seen only ${seen}`;
  const remedy = inContainer
    ? 'bind the directory with bind-propagation=rshared, in Kubernetes with mountPropagation: Bidirectional'
    : `"mount --make-rshared ${parent.path}", where others shall see it`;
  return [warn(message, remedy)];
}

/** The mount that a path lies on: the last one on the longest way to it. */
export function mountOf(table: readonly MountEntry[], path: string): MountEntry | undefined {
  for (let at = path; ; at = dirname(at)) {
    const found = table.findLast((entry) => entry.path === at);
    if (found !== undefined || at === dirname(at)) return found;
  }
}

export function isContainer(machine: Machine): boolean {
  return (
    machine.stat('/.dockerenv') !== null ||
    machine.stat('/run/.containerenv') !== null ||
    machine.env.KUBERNETES_SERVICE_HOST !== undefined
  );
}
