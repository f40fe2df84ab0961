/** A throw-away Linux guest under qemu's software emulation, for what needs a kernel with nbd.ko. Not for timings. */
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import type { Lifetime } from '../cleanup.ts';
import { type RunningProcess, startProcess } from '../run-command.ts';
import { tempDir } from '../temp.ts';
import { requireTools, toolPath } from '../tools.ts';
import { GUEST_TOOLS, type GuestImage, guestImage, packDirectory } from './guest-image.ts';

/** The host's loopback, seen from the guest. */
export const HOST_FROM_GUEST = '10.0.2.2';

const MEMORY_MIB = 1024;
const KERNEL_ARGUMENTS =
  'console=ttyS0 quiet loglevel=4 panic=-1 mitigations=off nokaslr random.trust_cpu=on tsc=reliable no_timer_check';

export interface GuestOptions {
  /** Run by bash as root. Lines it prints can be waited for. */
  readonly job: string;
  /** Added to qemu's arguments: drives. */
  readonly qemu?: readonly string[];
}

export class Guest {
  readonly #qemu: RunningProcess;

  constructor(qemu: RunningProcess) {
    this.#qemu = qemu;
  }

  /** What it has printed so far. */
  get console(): string {
    return this.#qemu.stdout.replaceAll('\r', '');
  }

  /** Resolves once the job has printed a line that is `line`. */
  async printed(line: string, timeoutMs: number): Promise<void> {
    const found = (): true | undefined => (this.console.split('\n').includes(line) ? true : undefined);
    await this.#qemu.until(`the guest prints ${line}`, found, timeoutMs);
  }

  /** Resolves with what it printed once the job has ended well. Rejects where it has not, with what it printed. */
  async finished(timeoutMs: number): Promise<string> {
    const ended = (): string | undefined => /##EXIT=(\d+)##/.exec(this.console)?.[1];
    const code = await this.#qemu.until('the job of the guest has ended', ended, timeoutMs);
    if (code !== '0') throw new Error(`the job of the guest ended with ${code}\n${this.console.slice(-6000)}`);
    return this.console;
  }
}

/** The image, or null where there cannot be one and the test has been skipped with the reason. */
export async function requireGuest(t: TestContext): Promise<GuestImage | null> {
  if (process.arch !== 'x64' || process.platform !== 'linux') {
    t.skip('needs an x86-64 Linux, for its kernel package');
    return null;
  }
  if (!requireTools(t, GUEST_TOOLS)) return null;
  try {
    return await guestImage();
  } catch (error) {
    t.skip(`needs Debian's kernel package: ${error instanceof Error ? error.message.split('\n')[0] : String(error)}`);
    return null;
  }
}

/** Boots a guest with the job. It is ended with the test. */
export async function startGuest(
  lifetime: Lifetime,
  image: GuestImage,
  { job, qemu = [] }: GuestOptions,
): Promise<Guest> {
  const dir = await tempDir(lifetime, 'guest');
  await mkdir(join(dir, 'job'));
  await writeFile(join(dir, 'job/job.sh'), job);
  const initrd = join(dir, 'initrd');
  await writeFile(initrd, Buffer.concat([await readFile(image.initrd), await packDirectory(join(dir, 'job'))]));
  const machine = ['-accel', 'tcg,thread=multi,tb-size=256', '-M', 'q35', '-cpu', 'max', '-smp', '1'];
  const bare = ['-m', String(MEMORY_MIB), '-nodefaults', '-display', 'none', '-no-reboot', '-serial', 'stdio'];
  const boot = ['-kernel', image.kernel, '-initrd', initrd, '-append', KERNEL_ARGUMENTS];
  const network = ['-netdev', 'user,id=n0,ipv6=off', '-device', 'virtio-net-pci,netdev=n0,romfile='];
  const args = [...machine, ...bare, ...boot, ...network, '-device', 'virtio-rng-pci', ...qemu];
  return new Guest(startProcess(lifetime, toolPath('qemu-system-x86_64'), args));
}
