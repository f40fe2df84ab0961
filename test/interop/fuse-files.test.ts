/** Volumes as files, with the real kernel: programs read and write them, by FUSE and by NBD at once, and processes die. */
import assert from 'node:assert/strict';
import { mkdir, open, readdir, readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { Random } from '../conformance/lease/random.ts';
import { startAppliance } from '../support/appliance.ts';
import { type CommandResult, runCommand, startProcess } from '../support/run-command.ts';
import { tempDir } from '../support/temp.ts';
import { requireFacilities, requireTools, type Tool, toolPath } from '../support/tools.ts';
import { type FuseAppliance, startFuseAppliance } from './support/fuse-appliance.ts';
import { randomBytes } from './support/random-data.ts';

const MIB = 1024 * 1024;
const SIZE = 256 * MIB;
const TIMEOUT_MS = 180_000;
const O_DIRECT_VERIFY = ['--verify=crc32c', '--verify_fatal=1', '--do_verify=1', '--verify_state_save=0'];

function require(t: TestContext, tools: readonly Tool[] = []): boolean {
  return requireTools(t, ['mount', ...tools]) && requireFacilities(t, ['root', 'fuse']);
}

async function fio(file: string, ...options: string[]): Promise<void> {
  const args = ['--name=verify', `--filename=${file}`, '--size=64m', ...O_DIRECT_VERIFY, ...options];
  await runCommand(toolPath('fio'), args, { timeoutMs: TIMEOUT_MS });
}

/** In good order; on a busy machine the upload may not be done by then (13), and what is left is safe in the cache. */
function assertStopped({ code, stderr }: CommandResult): void {
  assert.ok(code === 0 || code === 13, `exit code ${code}: ${stderr}`);
}

/** A stop while a program in a mount namespace of its own has a file open, and does not close it. */
async function cutOffElsewhere(t: TestContext): Promise<CommandResult> {
  const { appliance, file } = await startFuseAppliance(t, { config: { shutdown: { drain: '1s' } } });
  const script = 'exec 3<>"$1"; echo open; sleep 1000';
  const user = startProcess(t, 'unshare', ['-m', '--propagation', 'private', 'sh', '-c', script, 'sh', file]);
  await user.until('it has the file open', () => /open/.test(user.stdout) || undefined);
  const stopped = await appliance.stop();
  await appliance.waitForEvent('fuse-busy');
  await user.stop();
  return stopped;
}

describe('a volume as a file', { timeout: TIMEOUT_MS }, () => {
  it('gives back what fio has written, direct and buffered, in blocks of all sizes', async (t) => {
    if (!require(t, ['fio'])) return;
    const { file, appliance } = await startFuseAppliance(t);
    await fio(file, '--rw=randwrite', '--bs=4k', '--iodepth=32', '--ioengine=libaio', '--direct=1');
    await fio(file, '--rw=write', '--bs=1m', '--iodepth=4', '--ioengine=libaio', '--direct=1', '--fsync=8');
    await fio(file, '--rw=randwrite', '--bsrange=512-128k', '--bs_unaligned=1', '--ioengine=psync', '--direct=0');
    await fio(file, '--rw=randrw', '--bsrange=4k-64k', '--ioengine=psync', '--numjobs=4', '--offset_increment=64m');
    await fio(file, '--rw=randwrite', '--bs=8k', '--ioengine=mmap').then(
      () => assert.fail('pages of it would be kept by the kernel'),
      () => {},
    );
    assertStopped(await appliance.stop());
  });

  it('is read and written at any offset, and zeroed, as a plain buffer is', async (t) => {
    if (!require(t)) return;
    const { file } = await startFuseAppliance(t, { volumes: { disk: { size: '4MiB', blockSize: '64KiB' } } });
    const model = Buffer.alloc(4 * MIB);
    const random = new Random(7);
    const handle = await open(file, 'r+');
    try {
      for (let step = 0; step < 400; step++) {
        const offset = random.int(0, model.length - 1);
        const length = Math.min(random.chance(0.2) ? random.int(1, MIB) : random.int(1, 9000), model.length - offset);
        if (random.chance(0.5)) {
          const data = randomBytes(`${step}`, length);
          assert.equal((await handle.write(data, 0, length, offset)).bytesWritten, length);
          data.copy(model, offset);
        } else {
          const { bytesRead, buffer } = await handle.read(Buffer.alloc(length), 0, length, offset);
          assert.equal(bytesRead, length);
          assert.ok(buffer.equals(model.subarray(offset, offset + length)), `step ${step}`);
        }
        if (step % 40 === 0) await handle.datasync();
        if (step % 20 !== 0) continue;
        const args = [random.chance(0.5) ? '--punch-hole' : '--zero-range', '-o', `${offset}`, '-l', `${length}`, file];
        await runCommand('fallocate', args);
        model.fill(0, offset, offset + length);
      }
      await handle.sync();
      await assert.rejects(handle.write(Buffer.alloc(1), 0, 1, model.length), { code: 'ENOSPC' });
      assert.equal((await handle.write(Buffer.alloc(10), 0, 10, model.length - 4)).bytesWritten, 4);
      assert.equal((await handle.read(Buffer.alloc(10), 0, 10, model.length)).bytesRead, 0);
      await assert.rejects(handle.truncate(10), { code: 'EPERM' });
    } finally {
      await handle.close();
    }
    model.fill(0, model.length - 4);
    assert.ok((await readFile(file)).equals(model));
    await assert.rejects(runCommand('fallocate', ['-l', '8MiB', file]), /not supported/);
  });

  it('is copied with its holes', async (t) => {
    if (!require(t)) return;
    const { file, appliance } = await startFuseAppliance(t);
    const handle = await open(file, 'r+');
    const data = randomBytes('sparse', 300_000);
    await handle.write(data, 0, data.length, 100 * MIB);
    await handle.close();
    const copy = join(await tempDir(t, 'copy'), 'copy');
    await runCommand('cp', ['--sparse=auto', file, copy]);
    const copied = await stat(copy);
    assert.equal(copied.size, SIZE);
    assert.ok(copied.blocks * 512 < 2 * MIB, `${copied.blocks} blocks are stored`);
    await runCommand('cmp', [file, copy]);
    assertStopped(await appliance.stop());
  });

  it("is its owner's alone, and everybody may see that it is there", async (t) => {
    if (!require(t, ['setpriv'])) return;
    const volumes = { disk: { size: '4MiB' }, old: { size: '4MiB' } };
    const first = await startFuseAppliance(t, { volumes });
    assertStopped(await first.appliance.stop());
    const { dir, file } = await startFuseAppliance(t, {
      after: first,
      volumes: { disk: { size: '4MiB' }, old: { size: '4MiB', readOnly: true } },
    });
    await runCommand('chmod', ['755', join(dir, '..')]);
    const asNobody = (...args: string[]) =>
      runCommand(toolPath('setpriv'), ['--reuid=65534', '--regid=65534', '--clear-groups', ...args], { okCodes: null });
    assert.equal((await asNobody('ls', dir)).stdout, 'disk\nold\n');
    assert.match((await asNobody('cat', file)).stderr, /Permission denied/);
    assert.match((await asNobody('touch', join(dir, 'new'))).stderr, /Permission denied/);
    await assert.rejects(open(join(dir, 'old'), 'r+'), { code: 'EROFS' });
    await assert.rejects(writeFile(join(dir, 'new'), ''), { code: 'EPERM' });
    assert.equal((await stat(join(dir, 'old'))).mode & 0o777, 0o400);
    assert.equal((await readFile(join(dir, 'old'))).length, 4 * MIB);
  });

  it('and its export are one disk: what is written to one is read from the other', async (t) => {
    if (!require(t, ['qemu-io', 'fio'])) return;
    const { file, appliance } = await startFuseAppliance(t);
    const uri = appliance.uris('disk').unix;
    const qemu = async (...commands: string[]): Promise<void> => {
      const args = ['-f', 'raw', ...commands.flatMap((command) => ['-c', command]), uri];
      const { stdout } = await runCommand(toolPath('qemu-io'), args);
      assert.doesNotMatch(stdout, /failed/, stdout);
    };
    const handle = await open(file, 'r+');
    try {
      const page = Buffer.alloc(8192);
      for (const pattern of [0x11, 0x22, 0x33]) {
        await qemu(`write -P ${pattern} 4k 8k`);
        await handle.read(page, 0, 8192, 4096);
        assert.ok(
          page.every((byte) => byte === pattern),
          'no page of the kernel is older than the volume',
        );
        await handle.write(page.fill(pattern + 1), 0, 8192, 4096);
        await qemu(`read -P ${pattern + 1} 4k 8k`);
      }
      await qemu('discard 4k 8k');
      await handle.read(page, 0, 8192, 4096);
      assert.ok(page.every((byte) => byte === 0));
    } finally {
      await handle.close();
    }
    const common = ['--rw=randwrite', '--bs=4k', '--iodepth=16', '--size=32m', ...O_DIRECT_VERIFY];
    const nbd = ['--name=nbd', '--ioengine=nbd', `--uri=${uri}`, ...common];
    const fuse = ['--name=fuse', '--ioengine=libaio', '--direct=1', `--filename=${file}`, '--offset=64m', ...common];
    await Promise.all([nbd, fuse].map((args) => runCommand(toolPath('fio'), args, { timeoutMs: TIMEOUT_MS })));
    assertStopped(await appliance.stop());
  });
});

describe('the directory', { timeout: TIMEOUT_MS }, () => {
  it('that a killed process has left is taken over, with what was synced', async (t) => {
    if (!require(t)) return;
    let served = await startFuseAppliance(t);
    for (let round = 0; round < 5; round++) {
      const data = randomBytes(`round ${round}`, MIB + 17);
      const handle = await open(served.file, 'r+');
      await handle.write(data, 0, data.length, round * 3 * MIB + 5);
      await handle.sync();
      // One that is in the midst of a request, and one that will ask for the next with a connection that is gone.
      const busy = startProcess(t, 'dd', [`if=${served.file}`, 'of=/dev/null', 'bs=1M']);
      await served.appliance.kill();
      await busy.exited;
      await assert.rejects(handle.read(Buffer.alloc(10), 0, 10, 0), { code: 'ENOTCONN' });
      await assert.rejects(readdir(served.dir), { code: 'ENOTCONN' });
      served = await startFuseAppliance(t, { after: served });
      const stale = served.appliance.logs.filter(({ event }) => event === 'fuse-stale');
      assert.equal(stale.length, 1);
      await handle.close().catch(() => {});
      const again = await open(served.file);
      const { buffer } = await again.read(Buffer.alloc(data.length), 0, data.length, round * 3 * MIB + 5);
      await again.close();
      assert.ok(buffer.equals(data), `round ${round}`);
    }
    assertStopped(await served.appliance.stop());
    assert.deepEqual(await readdir(served.dir), [], 'nothing is mounted any more');
  });

  it('is not taken from a process that serves there, nor from files that lie in it', async (t) => {
    if (!require(t)) return;
    const { dir, appliance } = await startFuseAppliance(t);
    const other = await tempDir(t, 'other');
    const start = (fuseDir: string) =>
      startAppliance({
        lifetime: t,
        dir: other,
        config: { store: { url: `file://${other}/bucket` }, fuse: { dir: fuseDir }, volumes: { x: { size: '4MiB' } } },
      });
    await mkdir(join(other, 'bucket'));
    await assert.rejects(start(dir), /another process serves on/);
    // One that stands still cannot answer, but it is not dead.
    appliance.process.signal('SIGSTOP');
    await assert.rejects(start(dir), /another process serves on/);
    appliance.process.signal('SIGCONT');
    assert.deepEqual(await readdir(dir), ['disk']);
    const full = await tempDir(t, 'full');
    await writeFile(join(full, 'precious'), '');
    await assert.rejects(start(full), /is not empty/);
    await assert.rejects(start('/proc/nothing'), /cannot mount on/);
  });

  it('is unmounted by a stop, also while a file is open, and by then nothing hangs', async (t) => {
    if (!require(t)) return;
    const first = await startFuseAppliance(t, { config: { shutdown: { drain: '1s' } } });
    const handle = await open(first.file, 'r+');
    const stopped = await first.appliance.stop();
    assert.notEqual(stopped.code, 0, 'somebody was cut off');
    assert.equal(first.appliance.logs.filter(({ event }) => event === 'fuse-busy').length, 1);
    await assert.rejects(handle.write(Buffer.alloc(10), 0, 10, 0), { code: 'ENOTCONN' });
    await handle.close().catch(() => {});
    assert.deepEqual(await readdir(first.dir), []);

    const second = await startFuseAppliance(t, { after: first });
    const forAWhile = await open(second.file, 'r+');
    const stopping = second.appliance.stop();
    await second.appliance.process.until('it says that it is busy', () =>
      second.appliance.logs.find(({ message }) => `${message}`.startsWith('the directory is still in use')),
    );
    await forAWhile.write(Buffer.alloc(10), 0, 10, 0);
    await forAWhile.close();
    assertStopped(await stopping);
  });

  it('is waited for by a stop while files of it are open that its unmounting does not see', async (t) => {
    if (!require(t, ['unshare'])) return;
    const go = join(await tempDir(t, 'go'), 'go');
    await runCommand('mkfifo', [go]);
    const write = 'exec 3<>"$1"; echo open; read -r _ <"$2"; printf "%s" "$3" >&3 || exit 1; exec 3>&-';
    let served: FuseAppliance | undefined;
    // As a container has it, whose mount does not go with ours; and as `umount -l` leaves it.
    for (const how of ['elsewhere', 'lazily'] as const) {
      served = await startFuseAppliance(t, served === undefined ? {} : { after: served });
      const { appliance, dir, file } = served;
      const wrapper = how === 'elsewhere' ? ['unshare', '-m', '--propagation', 'private'] : ['env'];
      const [program = '', ...args] = [...wrapper, 'sh', '-c', write, 'sh', file, go, how];
      const user = startProcess(t, program, args);
      await user.until('it has the file open', () => /open/.test(user.stdout) || undefined);
      if (how === 'lazily') await runCommand('umount', ['-l', dir]);
      const stopping = appliance.stop();
      await appliance.process.until('it says what it waits for', () =>
        appliance.logs.find(({ message }) => `${message}`.includes('files of it are still open')),
      );
      await delay(3_000);
      await writeFile(go, 'now\n');
      assert.equal((await user.exited).code, 0, 'it was not cut off');
      assertStopped(await stopping);
    }
    const last = await startFuseAppliance(t, served === undefined ? {} : { after: served });
    const handle = await open(last.file);
    const { buffer } = await handle.read(Buffer.alloc(9), 0, 9, 0);
    await handle.close();
    assert.equal(buffer.toString(), 'lazilyere', 'both were written');
    // Who goes on beyond the drain time is cut off, and that is told.
    const stopped = await cutOffElsewhere(t);
    assert.equal(stopped.code, 130, stopped.stderr);
  });

  it('that somebody else unmounts is missed, and NBD goes on', async (t) => {
    if (!require(t, ['nbdinfo'])) return;
    const { dir, appliance } = await startFuseAppliance(t);
    await runCommand('umount', [dir]);
    await appliance.waitForEvent('fuse-unmounted');
    await runCommand(toolPath('nbdinfo'), [appliance.uris('disk').unix]);
    assertStopped(await appliance.stop());
  });
});
