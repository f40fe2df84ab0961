/**
 * `bucketdisk mount --via nbd` in a guest with nbd.ko: the steps by which it attaches, knows its devices again and cuts them off; and,
 * by hand, all of it: up and down, beside other people's devices, and over crashes.
 */
import assert from 'node:assert/strict';
import { it } from 'node:test';
import { GUARD_SCRIPT } from '../../src/host/nbd-guard.ts';
import { startAppliance } from '../support/appliance.ts';
import { HOST_FROM_GUEST, requireGuest, startGuest } from '../support/guest/guest.ts';
import { guestProgram } from '../support/guest/guest-program.ts';

/** Node takes its time where every instruction is emulated. */
const JOB_TIMEOUT_MS = 3_000_000;
const STEPS_TIMEOUT_MS = 300_000;

const PRELUDE = `
set -euo pipefail
step() { echo "step: $*"; "$@" || { echo "failed with $?: $*"; tail -5 /tmp/log*; dmesg | tail -20; exit 1; }; }
dmesg -n 1
mkdir -p /tmp/bucket
cat > /tmp/config.json5 <<'END'
{
  store: { url: 'file:///tmp/bucket' },
  cache: { dir: '/tmp/cache', size: '64MiB', logSize: '48MiB' },
  nbd: { listen: [], socket: '/tmp/nbd.sock' },
  admin: { listen: null },
  log: { format: 'json' },
  volumes: {
    disk: { size: '320MiB', blockSize: '64KiB', access: ['socket(ro)'], default: true },
    xfs: { size: '320MiB', blockSize: '64KiB' },
    btrfs: { size: '320MiB', blockSize: '64KiB' },
    other: { size: '16MiB', blockSize: '64KiB' },
  },
}
END
tool() { bucketdisk "$@" --config /tmp/config.json5; }
logs=0
# Starts "mount disk" as the appliance, and waits until it is ready.
start() {
  logs=$((logs+1)); log=/tmp/log$logs
  # Not by the function: its shell would be the one that is killed.
  bucketdisk mount disk /srv/disk "$@" --config /tmp/config.json5 > /tmp/out 2> $log &
  pid=$!
  until grep -q '"event":"ready"' $log; do
    kill -0 $pid 2>/dev/null || { echo "it ended"; cat $log; exit 1; }
    sleep 0.2
  done
}
attached() { [ -e /sys/block/$1/pid ]; }
mounted() { grep -q "^/dev/$1 $2 " /proc/mounts; }
not() { ! "$@"; }
# What ends within 30 s; something that the kernel holds on to does not.
ends() { for i in $(seq 150); do kill -0 $1 2>/dev/null || return 0; sleep 0.2; done; echo "$1 does not end: $(cat /proc/$1/stack 2>/dev/null)"; return 1; }
`;

const JOB = `
echo "== the module is loaded, and what somebody else has attached is left alone"
step not test -e /sys/module/nbd
start --fs ext4 --via auto
cat $log | grep '"event":"mounted"'
step mounted nbd0 /srv/disk
step grep -q '^/dev/nbd0 /srv/disk ext4 .*noatime.*discard' /proc/mounts
step nbd-client -unix /tmp/nbd.sock -N other /dev/nbd1
other=$(cat /sys/block/nbd1/pid)
tool status | grep -E 'mounted'

echo "== the other filesystems, beside a running appliance"
for fs in xfs btrfs; do
  step tool mount $fs /srv/$fs --fs $fs --via nbd
  step grep -q "^/dev/nbd[0-9]* /srv/$fs $fs " /proc/mounts
  step dd if=/dev/urandom of=/srv/$fs/file bs=64k count=40 conv=fsync
  cp /srv/$fs/file /tmp/$fs
  step fstrim /srv/$fs
done
( cd /srv/xfs; exec sleep 1000 ) & busy=$!
step not tool unmount xfs
kill $busy; wait $busy 2>/dev/null || true
step tool unmount xfs
step not attached nbd2
step attached nbd3
step tool mount xfs /srv/xfs --via nbd
step cmp /tmp/xfs /srv/xfs/file

echo "== killed in the middle of writing"
dd if=/dev/urandom of=/tmp/payload bs=4k count=25 2>/dev/null
for round in 1 2; do
  ( i=0; while dd if=/tmp/payload of=/srv/disk/synced-$round-$i bs=64k conv=fsync 2>/dev/null; do echo synced-$round-$i; i=$((i+1)); done ) > /tmp/synced$round &
  writer=$!
  until [ $(wc -l < /tmp/synced$round) -ge $((round*5)) ]; do sleep 0.1; done
  kill -9 $pid
  wait $pid 2>/dev/null || true
  # By the process beside it, so that nobody waits for a server that is gone.
  step ends $writer
  if [ $round = 2 ]; then
    # Also without a start.
    step tool unmount disk
    step not mounted nbd0 /srv/disk
    step not attached nbd0
  fi
  start --via nbd
  [ $round = 2 ] || step grep -q '"event":"mount-stale"' $log
  step mounted nbd0 /srv/disk
  step not mounted nbd2 /srv/xfs
  step not mounted nbd3 /srv/btrfs
  step not attached nbd3
  for name in $(cat /tmp/synced$round); do cmp /tmp/payload /srv/disk/$name || { echo "lost: $name"; exit 1; }; done
  rm /srv/disk/synced-$round-*
  echo "round $round: $(wc -l < /tmp/synced$round) files"
done
step attached nbd1
step test "$(cat /sys/block/nbd1/pid)" = $other
step tool mount btrfs /srv/btrfs --via nbd
step cmp /tmp/btrfs /srv/btrfs/file

echo "== a stop takes it down in order"
dd if=/tmp/payload of=/srv/disk/last bs=64k 2>/dev/null
kill $pid
wait $pid && code=0 || code=$?
echo "exit code $code"
[ $code = 0 ] || [ $code = 13 ]
step not mounted nbd0 /srv/disk
step not attached nbd0
step not attached nbd2
step test -z "$(ls /tmp/cache/mounts)"
start --via nbd
step cmp /tmp/payload /srv/disk/last
kill $pid
wait $pid || true
`;

it('mounts ext4, xfs and btrfs by nbd.ko, comes back after a kill, and touches no device of others', {
  timeout: JOB_TIMEOUT_MS + 60_000,
}, async (t) => {
  if (process.env.GUEST_MOUNT === undefined) {
    t.skip(
      'Node needs a quarter of an hour where every instruction is emulated: GUEST_MOUNT=1 FILE_MINUTES=60 runs it',
    );
    return;
  }
  const image = await requireGuest(t);
  if (image === null) return;
  const program = await guestProgram(t);
  const guest = await startGuest(t, image, { job: program.prelude + PRELUDE + JOB, qemu: program.qemu });
  const output = await guest.finished(JOB_TIMEOUT_MS);
  for (const round of [1, 2]) assert.match(output, new RegExp(`round ${round}: [1-9]\\d* files`));
  t.diagnostic(output);
});

const STEPS = `
set -uo pipefail
step() { echo "step: $*"; "$@" || { echo "failed with $?: $*"; dmesg | tail -20; exit 1; }; }
not() { ! "$@"; }
attach() { nbd-client -N $1 -b 512 $HOST $2 $3; }
pid() { cat /sys/block/nbd0/pid; }
modprobe nbd
dmesg -n 1
# All of it is read: what still writes to a grep that has left fails, and so does the line.
nbd-client --help 2>&1 | grep nonetlink > /dev/null || exit 1
step attach disk $FIRST /dev/nbd0
owner=$(pid)
echo "== a device that is attached is refused, and stays as it was"
step not attach other $SECOND /dev/nbd0
step test "$(pid)" = $owner
step mkfs.ext4 -q -b 4096 -E nodiscard /dev/nbd0
step mount -o discard,noatime /dev/nbd0 /mnt
step test -e /sys/fs/ext4/nbd0
mkfifo /tmp/alive
setsid sh -c "$GUARD" sh /bin/nbd-client /dev/nbd0 < /tmp/alive & guard=$!
exec 7> /tmp/alive
# It must not keep the guard waiting, which it waits for itself.
( exec 7>&-; while dd if=/dev/zero of=/mnt/file bs=64k count=4 conv=fsync 2>/dev/null; do :; done ) & writer=$!
sleep 1
echo "##KILL##"
while (exec 3<> /dev/tcp/$HOST/$FIRST) 2>/dev/null; do sleep 0.2; done
echo "== who waits for a server that is gone gets an error once the appliance is gone too"
exec 7>&-
step wait $guard
step wait $writer
echo "== a device that a dead filesystem still has is known as ours, and nobody else gets it"
step test "$(pid)" = $owner
step not attach other $SECOND /dev/nbd0
step nbd-client -d /dev/nbd0
step umount /mnt
sleep 1
step not test -e /sys/block/nbd0/pid
step not test -e /sys/fs/ext4/nbd0
echo "== not after a lazy unmount either"
step attach other $SECOND /dev/nbd0
step mkfs.ext4 -q -b 4096 /dev/nbd0
step mount /dev/nbd0 /mnt
( cd /mnt; exec sleep 1000 ) & user=$!
sleep 1
step umount -l /mnt
step nbd-client -d /dev/nbd0
step test -e /sys/fs/ext4/nbd0
step not attach other $SECOND /dev/nbd0
kill $user
`;

it('attaches, cuts off and knows again as it counts on', { timeout: 2 * STEPS_TIMEOUT_MS }, async (t) => {
  const image = await requireGuest(t);
  if (image === null) return;
  const serve = (name: string) =>
    startAppliance({
      lifetime: t,
      config: { store: { url: 'memory:' }, volumes: { [name]: { size: '64MiB', blockSize: '256KiB' } } },
    });
  const [first, second] = await Promise.all([serve('disk'), serve('other')]);
  const variables = `HOST=${HOST_FROM_GUEST} FIRST=${first.tcp.port} SECOND=${second.tcp.port}\nGUARD=$(cat <<'END'\n${GUARD_SCRIPT}\nEND\n)\n`;
  const guest = await startGuest(t, image, { job: variables + STEPS });
  await guest.printed('##KILL##', STEPS_TIMEOUT_MS);
  await first.kill();
  await guest.finished(STEPS_TIMEOUT_MS);
});
