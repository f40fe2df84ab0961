/**
 * The Linux kernel's own client, nbd.ko, in a guest: filesystems are made, trimmed and checked over one and over four
 * connections; what was synced outlives the server; and qemu's client, a disk of the guest, goes on when the server is back.
 */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { type Appliance, startAppliance } from '../support/appliance.ts';
import { HOST_FROM_GUEST, requireGuest, startGuest } from '../support/guest/guest.ts';
import { fileBucket } from './support/buckets.ts';

const BOOT_TIMEOUT_MS = 120_000;
const JOB_TIMEOUT_MS = 240_000;
const TEST_TIMEOUT_MS = JOB_TIMEOUT_MS + BOOT_TIMEOUT_MS;

/** The start of every job: bash that ends at the first error, and what the guest needs to speak to a server here. */
function prelude({ tcp }: Appliance): string {
  return `
set -euo pipefail
HOST=${HOST_FROM_GUEST} PORT=${tcp.port}
step() { echo "step: $*"; "$@" || { echo "failed with $?: $*"; dmesg | tail -20; exit 1; }; }
attach() { step nbd-client -C "$2" -b 4096 -N "$1" "$HOST" "$PORT" /dev/nbd0; }
detach() { step nbd-client -d /dev/nbd0; }
check() {
  case $1 in
    ext4) step e2fsck -f -n "$2" ;;
    xfs) step xfs_repair -n "$2" ;;
    btrfs) step btrfs check --readonly "$2" ;;
  esac
}
forget() { echo 3 > /proc/sys/vm/drop_caches; }
server_answers() { (exec 3<> "/dev/tcp/$HOST/$PORT") 2>/dev/null; }
modprobe nbd max_part=0
# What the kernel has to say of a server that is gone would take minutes on an emulated console.
dmesg -n 1
`;
}

const FILESYSTEMS = `
dd if=/dev/urandom of=/tmp/random bs=1M count=8 2>/dev/null
for connections in 1 4; do
  for fs in ext4 xfs btrfs; do
    echo "== $fs, $connections connections"
    attach disk $connections
    echo "queue: discard=$(cat /sys/block/nbd0/queue/discard_max_bytes) cache=$(cat /sys/block/nbd0/queue/write_cache) fua=$(cat /sys/block/nbd0/queue/fua)"
    case $fs in
      ext4) step mkfs.ext4 -q -F /dev/nbd0 ;;
      *) step mkfs.$fs -q -f /dev/nbd0 ;;
    esac
    step mount -t $fs /dev/nbd0 /mnt
    step dd if=/tmp/random of=/mnt/random bs=1M conv=fsync
    for i in 1 2 3 4; do dd if=/tmp/random of=/mnt/part$i bs=64k count=24 2>/dev/null & done
    wait
    step dd if=/dev/zero of=/mnt/sync bs=4k count=20 oflag=dsync
    forget
    step cmp /tmp/random /mnt/random
    for i in 1 2 3 4; do step cmp -n 1572864 /tmp/random /mnt/part$i; done
    rm /mnt/random
    step fstrim -v /mnt
    step umount /mnt
    check $fs /dev/nbd0
    step mount -t $fs -o ro /dev/nbd0 /mnt
    for i in 1 2 3 4; do step cmp -n 1572864 /tmp/random /mnt/part$i; done
    step umount /mnt
    detach
    echo "done: $fs $connections"
  done
done
`;

/** What is synced is told line by line; the host then takes the server away, and brings another. */
const SURVIVING = `
dd if=/dev/urandom of=/tmp/random bs=64k count=8 2>/dev/null
attach disk 1
step mkfs.ext4 -q -F /dev/nbd0
step mount -t ext4 /dev/nbd0 /mnt
for i in 1 2 3 4 5; do step dd if=/tmp/random of=/mnt/synced$i bs=64k conv=fsync; done
echo "##SYNCED##"
( dd if=/dev/urandom of=/mnt/unsynced bs=64k count=500 2>/dev/null || true ) &
while server_answers; do sleep 0.2; done
echo "##SERVER GONE##"
wait
umount /mnt || umount -l /mnt
nbd-client -d /dev/nbd0 || true
echo "##DETACHED##"
while ! server_answers; do sleep 0.2; done
attach disk 1
step mount -t ext4 /dev/nbd0 /mnt
for i in 1 2 3 4 5; do step cmp /tmp/random /mnt/synced$i; done
step umount /mnt
check ext4 /dev/nbd0
detach
`;

/** The disk is qemu's: its client waits for the server to come back, and the guest only sees a slow disk. */
const RECONNECTING = `
modprobe virtio_blk
dd if=/dev/urandom of=/tmp/random bs=64k count=64 2>/dev/null
for i in $(seq 50); do [ -b /dev/vda ] && break; sleep 0.1; done
step mkfs.xfs -q -f /dev/vda
step mount -t xfs /dev/vda /mnt
step dd if=/tmp/random of=/mnt/before bs=64k conv=fsync
echo "##READY##"
while server_answers; do sleep 0.2; done
echo "##SERVER GONE##"
step dd if=/tmp/random of=/mnt/during bs=64k conv=fsync
forget
step cmp /tmp/random /mnt/before
step cmp /tmp/random /mnt/during
step fstrim /mnt
step umount /mnt
check xfs /dev/vda
`;

describe("the Linux kernel's client", () => {
  it('makes, trims and checks ext4, xfs and btrfs, with one and four connections', {
    timeout: TEST_TIMEOUT_MS,
  }, async (t) => {
    const image = await requireGuest(t);
    if (image === null) return;
    const volumes = { disk: { size: '512MiB', blockSize: '256KiB' } };
    const appliance = await startAppliance({ lifetime: t, config: { store: { url: 'memory:' }, volumes } });
    const guest = await startGuest(t, image, { job: prelude(appliance) + FILESYSTEMS });
    const output = await guest.finished(JOB_TIMEOUT_MS);
    for (const connections of [1, 4]) {
      for (const fs of ['ext4', 'xfs', 'btrfs']) assert.ok(output.includes(`done: ${fs} ${connections}`), fs);
    }
    assert.match(output, /queue: discard=[1-9]\d* cache=write back fua=1/);
    const attached = appliance.logs.filter(({ message }) => message === 'client attached').length;
    // nbd-client asks for the size on a connection of its own in some versions.
    assert.ok(attached >= 3 * (1 + 4), `${attached} connections`);
    assert.deepEqual(appliance.logs.filter(({ level }) => level === 'error'), []); // biome-ignore format: one line
  });

  it('finds what it had synced when the server was killed and is back', { timeout: TEST_TIMEOUT_MS }, async (t) => {
    const image = await requireGuest(t);
    if (image === null) return;
    const bucket = await fileBucket(t);
    const config = { store: bucket.section, volumes: { disk: { size: '64MiB', blockSize: '64KiB' } } };
    const first = await startAppliance({ lifetime: t, config });
    const guest = await startGuest(t, image, { job: prelude(first) + SURVIVING });
    await guest.printed('##SYNCED##', BOOT_TIMEOUT_MS);
    await first.kill();
    await guest.printed('##SERVER GONE##', BOOT_TIMEOUT_MS);
    await restart(t, first, config);
    const output = await guest.finished(JOB_TIMEOUT_MS);
    assert.ok(output.includes('##DETACHED##'), 'the kernel let go of the dead server');
  });
});

describe("qemu's client, a disk of a guest", () => {
  it('goes on when the server was killed and is back', { timeout: TEST_TIMEOUT_MS }, async (t) => {
    const image = await requireGuest(t);
    if (image === null) return;
    const bucket = await fileBucket(t);
    const config = { store: bucket.section, volumes: { disk: { size: '320MiB', blockSize: '256KiB' } } };
    const first = await startAppliance({ lifetime: t, config });
    const { host, port } = first.tcp;
    const server = `driver=nbd,server.type=inet,server.host=${host},server.port=${port},export=disk`;
    const drive = `${server},reconnect-delay=120,if=virtio,cache=none,discard=unmap`;
    const guest = await startGuest(t, image, { job: prelude(first) + RECONNECTING, qemu: ['-drive', drive] });
    await guest.printed('##READY##', BOOT_TIMEOUT_MS);
    await first.kill();
    await guest.printed('##SERVER GONE##', BOOT_TIMEOUT_MS);
    await restart(t, first, config);
    await guest.finished(JOB_TIMEOUT_MS);
  });
});

/** On the same port, with what the first has left. */
function restart(
  t: Parameters<typeof startAppliance>[0]['lifetime'],
  first: Appliance,
  config: object,
): Promise<Appliance> {
  const { host, port } = first.tcp;
  return startAppliance({ lifetime: t, dir: first.dir, config: { ...config, nbd: { listen: [`${host}:${port}`] } } });
}
