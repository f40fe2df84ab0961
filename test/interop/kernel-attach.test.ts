/** The kernel's client once more, in a guest: filesystems on volumes that grow, by the steps of docs/RESIZE.md, and TLS. */
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { startAppliance } from '../support/appliance.ts';
import { makeAuthority } from '../support/certificates.ts';
import { HOST_FROM_GUEST, requireGuest, startGuest } from '../support/guest/guest.ts';
import { runCommand } from '../support/run-command.ts';
import { requireTools } from '../support/tools.ts';

const BOOT_TIMEOUT_MS = 180_000;
const JOB_TIMEOUT_MS = 240_000;
const TEST_TIMEOUT_MS = BOOT_TIMEOUT_MS + JOB_TIMEOUT_MS;
const MAIN = fileURLToPath(new URL('../../src/main.ts', import.meta.url));
const FILESYSTEMS = ['ext4', 'xfs', 'btrfs'];

function prelude(port: number): string {
  return `
set -euo pipefail
HOST=${HOST_FROM_GUEST} PORT=${port}
step() { echo "step: $*"; "$@" || { echo "failed with $?: $*"; dmesg | tail -20; exit 1; }; }
sectors() { cat /sys/block/nbd0/size; }
modprobe nbd max_part=0
dmesg -n 1
`;
}

const GROWING = `
dd if=/dev/urandom of=/tmp/random bs=64k count=20 2>/dev/null
for fs in ${FILESYSTEMS.join(' ')}; do
  step nbd-client -b 4096 -N $fs $HOST $PORT /dev/nbd0
  case $fs in
    ext4) step mkfs.ext4 -q -F /dev/nbd0 ;;
    *) step mkfs.$fs -q -f /dev/nbd0 ;;
  esac
  step mount -t $fs /dev/nbd0 /mnt
  step dd if=/tmp/random of=/mnt/before bs=64k conv=fsync
  first=$(sectors)
  echo "##GROW $fs##"
  step umount /mnt
  step nbd-client -d /dev/nbd0
  # The host grows it now.
  while step nbd-client -b 4096 -N $fs $HOST $PORT /dev/nbd0; [ "$(sectors)" -eq "$first" ]; do
    step nbd-client -d /dev/nbd0
    sleep 0.5
  done
  echo "grown: $fs $first $(sectors)"
  case $fs in
    ext4)
      step e2fsck -f -p /dev/nbd0
      step resize2fs /dev/nbd0
      step mount -t ext4 /dev/nbd0 /mnt ;;
    xfs)
      step mount -t xfs /dev/nbd0 /mnt
      step xfs_growfs /mnt ;;
    btrfs)
      step mount -t btrfs /dev/nbd0 /mnt
      step btrfs filesystem resize max /mnt ;;
  esac
  step cmp /tmp/random /mnt/before
  # More than there was room for before, and written to near its end.
  step fallocate -l 360M /mnt/large
  step dd if=/tmp/random of=/mnt/large bs=64k seek=5400 conv=fsync,notrunc
  step umount /mnt
  step nbd-client -d /dev/nbd0
  echo "done: $fs"
done
`;

it('shows a grown volume when it attaches again, and its filesystem grows into it', {
  timeout: TEST_TIMEOUT_MS,
}, async (t) => {
  const image = await requireGuest(t);
  if (image === null) return;
  const sizes = Object.fromEntries(FILESYSTEMS.map((name) => [name, { size: '320MiB', blockSize: '256KiB' }]));
  const appliance = await startAppliance({ lifetime: t, config: { store: { url: 'memory:' }, volumes: sizes } });
  const guest = await startGuest(t, image, { job: prelude(appliance.tcp.port) + GROWING });
  for (const name of FILESYSTEMS) {
    await guest.printed(`##GROW ${name}##`, BOOT_TIMEOUT_MS);
    await runCommand(process.execPath, [MAIN, 'resize', name, '512MiB', '--config', appliance.configFile]);
  }
  const output = await guest.finished(JOB_TIMEOUT_MS);
  for (const name of FILESYSTEMS) {
    assert.ok(output.includes(`grown: ${name} ${320 * 2048} ${512 * 2048}`), name);
    assert.ok(output.includes(`done: ${name}`), name);
  }
});

it('attaches over TLS, with a certificate, by a process beside the kernel', { timeout: TEST_TIMEOUT_MS }, async (t) => {
  const image = await requireGuest(t);
  if (image === null || !requireTools(t, ['openssl'])) return;
  const authority = await makeAuthority(t);
  const own = await authority.issue({ subject: '/CN=disks', altNames: 'DNS:disks.example', usage: 'serverAuth' });
  const client = await authority.issue({ subject: '/CN=guest' });
  const appliance = await startAppliance({
    lifetime: t,
    config: {
      store: { url: 'memory:' },
      nbd: {
        tls: {
          mode: 'required',
          certFile: own.certFile,
          keyFile: own.keyFile,
          caFile: authority.certFile,
          verifyClients: 'require',
        },
      },
      volumes: { disk: { size: '64MiB', access: ['cn:guest'] } },
    },
  });
  const put = async (path: string, from: string): Promise<string> =>
    `cat > ${path} <<'END'\n${await readFile(from, 'utf8')}END\n`;
  const files = [
    await put('/tmp/ca.pem', authority.certFile),
    await put('/tmp/cert.pem', client.certFile),
    await put('/tmp/key.pem', client.keyFile),
  ].join('');
  const job = `
dd if=/dev/urandom of=/tmp/random bs=64k count=20 2>/dev/null
if nbd-client -b 4096 -N disk $HOST $PORT /dev/nbd0; then echo "attached without TLS"; exit 1; fi
attach() { step nbd-client -b 4096 -N disk -cacertfile /tmp/ca.pem -certfile /tmp/cert.pem -keyfile /tmp/key.pem -tlshostname disks.example $HOST $PORT /dev/nbd0; }
attach
step mkfs.ext4 -q -F /dev/nbd0
step mount -t ext4 /dev/nbd0 /mnt
step dd if=/tmp/random of=/mnt/file bs=64k conv=fsync
step umount /mnt
step nbd-client -d /dev/nbd0
attach
step mount -t ext4 /dev/nbd0 /mnt
step cmp /tmp/random /mnt/file
step umount /mnt
step e2fsck -f -n /dev/nbd0
step nbd-client -d /dev/nbd0
`;
  const guest = await startGuest(t, image, { job: prelude(appliance.tcp.port) + files + job });
  await guest.finished(JOB_TIMEOUT_MS);
  const attached = appliance.logs.filter(({ message }) => message === 'client attached');
  assert.ok(attached.length >= 2);
  for (const line of attached) assert.deepEqual(line.client, ['cn:guest']);
});
