/** TLS with other people's clients, by the commands of docs/TLS.md: certificates of certtool, keys of psktool, and who gets what. */
import assert from 'node:assert/strict';
import { copyFile, mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { before, describe, it, type TestContext } from 'node:test';
import { type Appliance, startAppliance } from '../support/appliance.ts';
import { type CommandResult, runCommand } from '../support/run-command.ts';
import { tempDir } from '../support/temp.ts';
import { missingTools, requireTools, type Tool, toolPath } from '../support/tools.ts';
import { fileLifetime } from './support/file-lifetime.ts';

const MIB = 1024 * 1024;
const TOOLS: readonly Tool[] = ['certtool', 'psktool', 'nbdinfo', 'nbdcopy', 'qemu-img', 'qemu-io', 'nbdkit'];
const DOCUMENT = join(import.meta.dirname, '../../docs/TLS.md');
const REQUESTS = join(import.meta.dirname, 'support/requests.py');

const file = fileLifetime();
/** Where the commands are run; `pki` in it is what a client has. */
let dir: string;
let appliance: Appliance;
/** The shell commands of the page, by the heading they are under. */
let commands: ReadonlyMap<string, readonly string[]>;

before(async () => {
  if (missingTools(TOOLS).length > 0) return;
  dir = await tempDir(file, 'tls-docs');
  commands = commandsByHeading(await readFile(DOCUMENT, 'utf8'));
  for (const command of [...section('Certificates'), section('Pre-shared keys')[0] ?? '']) {
    await shell(command.replaceAll('disks.example.net', 'localhost').replaceAll('192.0.2.7', '127.0.0.1'));
  }
  await mkdir(join(dir, 'pki'));
  for (const name of ['ca-cert', 'client-cert', 'client-key']) {
    await copyFile(join(dir, `${name}.pem`), join(dir, 'pki', `${name}.pem`));
  }
  appliance = await startAppliance({
    lifetime: file,
    config: {
      store: { url: 'memory:' },
      cache: { size: '0' },
      nbd: {
        tls: {
          mode: 'required',
          certFile: join(dir, 'server-cert.pem'),
          keyFile: join(dir, 'server-key.pem'),
          caFile: join(dir, 'ca-cert.pem'),
          verifyClients: 'optional',
          pskFile: join(dir, 'keys.psk'),
        },
      },
      volumes: {
        media: { size: '64MiB', blockSize: '64KiB', access: ['cn:nas', 'psk:alice', 'psk:bob(ro)'] },
        secret: { size: '1MiB', access: ['cn:somebody else'] },
        public: { size: '1MiB', default: true },
      },
    },
  });
});

function commandsByHeading(page: string): Map<string, string[]> {
  const found = new Map<string, string[]>();
  let heading = '';
  for (const [, title, block] of page.matchAll(/^##+ (.*)$|^```sh\n([\s\S]*?)^```$/gm)) {
    if (title !== undefined) heading = title;
    else if (block !== undefined) found.set(heading, [...(found.get(heading) ?? []), block]);
  }
  return found;
}

function section(heading: string): readonly string[] {
  return commands.get(heading) ?? assert.fail(`docs/TLS.md has no commands under ${heading}`);
}

/** The page's commands at the address of this test's appliance. */
function here(command: string): string {
  const { port } = appliance.tcp;
  return command
    .replaceAll(/(nbds:\/\/(?:\w+@)?)disks\.example\.net\//g, `$1localhost:${port}/`)
    .replaceAll('disks.example.net', 'localhost')
    .replaceAll('port=10809', `port=${port}`)
    .replaceAll('/run/bucketdisk/nbd.sock', appliance.socket);
}

function shell(command: string, okCodes: readonly number[] | null = [0]): Promise<CommandResult> {
  return runCommand('/bin/bash', ['-euc', command], { cwd: dir, okCodes });
}

async function runSection(t: TestContext, heading: string, from = 0): Promise<string> {
  if (!requireTools(t, TOOLS)) return '';
  let output = '';
  for (const command of section(heading).slice(from)) output += (await shell(here(command))).stdout;
  return output;
}

/** What the client was taken for that attached last. */
function lastClient(): { client: unknown; tls: unknown; readOnly: unknown } {
  const line = appliance.logs.findLast(({ message }) => message === 'client attached');
  return { client: line?.client, tls: line?.tls, readOnly: line?.readOnly };
}

const NAS = { client: ['cn:nas'], tls: 'TLSv1.3', readOnly: false };
const ALICE = { client: ['psk:alice'], tls: 'TLSv1.3', readOnly: false };

describe('the commands of docs/TLS.md', () => {
  it('attach libnbd by certificate, over TCP and the unix socket', async (t) => {
    const output = await runSection(t, 'libnbd: nbdinfo, nbdcopy, nbdfuse');
    if (output === '') return;
    assert.equal(output.match(/export-size: 67108864/g)?.length, 2);
    assert.match(output, /protocol: newstyle-fixed with TLS/);
    assert.deepEqual(lastClient(), { ...NAS, client: ['cn:nas', 'socket'] });
  });

  it('attach qemu by certificate', async (t) => {
    const output = await runSection(t, 'qemu');
    if (output === '') return;
    assert.match(output, /virtual size: 64 MiB/);
    assert.doesNotMatch(output, /failed|error/i);
    assert.deepEqual(lastClient(), NAS);
  });

  it("attach nbdkit's nbd plugin by certificate", async (t) => {
    const output = await runSection(t, 'nbdkit');
    if (output === '') return;
    assert.equal(output.trim(), String(64 * MIB));
    assert.deepEqual(lastClient(), NAS);
  });

  it('attach all of them by pre-shared key', async (t) => {
    const output = await runSection(t, 'Pre-shared keys', 1);
    if (output === '') return;
    assert.match(output, /export-size: 67108864/);
    assert.match(output, /virtual size: 64 MiB/);
    assert.match(output, new RegExp(`^${64 * MIB}$`, 'm'));
    assert.deepEqual(lastClient(), ALICE);
  });
});

describe('libnbd over TLS', () => {
  const byCertificate = (): string => here('nbds://disks.example.net/media?tls-certificates=') + join(dir, 'pki');
  const byKey = (): string => here('nbds://alice@disks.example.net/media?tls-psk-file=') + join(dir, 'keys.psk');

  for (const check of ['df', 'zeroes', 'trims', 'block_status', 'unaligned', 'overlapping', 'past_the_end', 'large']) {
    it(`passes the check ${check} of the plain connection`, async (t) => {
      if (!requireTools(t, [...TOOLS, 'python3-libnbd'])) return;
      for (const uri of [byCertificate(), byKey()]) {
        await runCommand(toolPath('python3-libnbd'), [REQUESTS, check, uri]);
      }
    });
  }

  it('sees on one connection what was flushed on another, whoever they are', async (t) => {
    if (!requireTools(t, [...TOOLS, 'python3-libnbd'])) return;
    await runCommand(toolPath('python3-libnbd'), [REQUESTS, 'multi_conn', byCertificate(), byKey()]);
  });

  it('copies in and out with four connections', async (t) => {
    if (!requireTools(t, TOOLS)) return;
    await shell(`
      head -c 64M /dev/urandom > image
      nbdcopy --connections=4 --flush image '${byCertificate()}'
      nbdcopy --connections=4 '${byKey()}' back
      cmp image back`);
  });
});

describe('who may not', () => {
  const refused = async (command: string): Promise<string> => {
    const { code, stderr, stdout } = await shell(here(command), null);
    assert.notEqual(code, 0, `${command}\n${stdout}`);
    return stderr;
  };

  it('attach without TLS is told to use it, and not what there is', async (t) => {
    if (!requireTools(t, TOOLS)) return;
    const uri = appliance.uris('public').tcp;
    assert.match(await refused(`nbdinfo ${uri}`), /Operation not supported/);
    assert.doesNotMatch(await refused(`nbdinfo --list ${appliance.uris('').tcp}`), /media|public|secret/);
    assert.match(await refused(`qemu-img info ${uri}`), /TLS/);
  });

  it('open a volume does not see it', async (t) => {
    if (!requireTools(t, TOOLS)) return;
    const list = async (uri: string): Promise<string[]> => {
      const { stdout } = await shell(here(`nbdinfo --list --json '${uri}'`));
      return JSON.parse(stdout)
        .exports.map((one: { 'export-name': string }) => one['export-name'])
        .sort();
    };
    await mkdir(join(dir, 'authority-only'), { recursive: true });
    await copyFile(join(dir, 'ca-cert.pem'), join(dir, 'authority-only/ca-cert.pem'));
    const nobody = 'nbds://disks.example.net/?tls-certificates=authority-only';
    assert.deepEqual(await list(nobody), ['public']);
    assert.deepEqual(await list('nbds://disks.example.net/?tls-certificates=pki'), ['media', 'public']);
    assert.deepEqual(await list('nbds://bob@disks.example.net/?tls-psk-file=keys.psk'), ['media', 'public']);
    const hidden = await refused(`nbdinfo '${nobody.replace('/?', '/media?')}'`);
    const absent = await refused(`nbdinfo '${nobody.replace('/?', '/nosuch?')}'`);
    assert.equal(hidden.replaceAll('media', 'nosuch'), absent);
  });

  it('write finds the export read-only', async (t) => {
    if (!requireTools(t, TOOLS)) return;
    const { stdout } = await shell(here("nbdinfo --json 'nbds://bob@disks.example.net/media?tls-psk-file=keys.psk'"));
    assert.equal(JSON.parse(stdout).exports[0].is_read_only, true);
    assert.deepEqual(lastClient(), { client: ['psk:bob'], tls: 'TLSv1.3', readOnly: true });
    const creds = '--object tls-creds-psk,id=tls,endpoint=client,dir=.,username=bob';
    const image = '--image-opts driver=nbd,host=disks.example.net,port=10809,export=media,tls-creds=tls';
    assert.match(await refused(`qemu-io ${creds} -c 'write 0 64k' ${image}`), /read-only|Permission denied/i);
    assert.doesNotMatch((await shell(here(`qemu-io -r ${creds} -c 'read 0 64k' ${image}`))).stdout, /failed/);
  });

  it('show the right key is refused, and the log says who it was', async (t) => {
    if (!requireTools(t, TOOLS)) return;
    await writeFile(join(dir, 'wrong.psk'), `alice:${'ab'.repeat(32)}\ncarol:${'cd'.repeat(32)}\n`);
    for (const user of ['alice', 'carol']) {
      await refused(`nbdinfo 'nbds://${user}@disks.example.net/media?tls-psk-file=wrong.psk'`);
    }
    const reasons = (): string => appliance.logs.map(({ reason }) => String(reason)).join('\n');
    await appliance.process.until('both are told of', () =>
      /of the user "alice" failed/.test(reasons()) && /of the unknown user "carol" failed/.test(reasons())
        ? true
        : undefined,
    );
  });

  it('be believed is refused by its clients: another authority, another name', async (t) => {
    if (!requireTools(t, TOOLS)) return;
    await mkdir(join(dir, 'other'), { recursive: true });
    await shell(`cd other
      certtool --generate-privkey --no-text --outfile ca-key.pem
      certtool --generate-self-signed --load-privkey ca-key.pem --template ../ca.cfg --no-text --outfile ca-cert.pem`);
    await refused("nbdinfo 'nbds://disks.example.net/public?tls-certificates=other'");
    await shell("sed 's/localhost/another.example/;/ip_address/d' server.cfg > wrong-name.cfg");
    await shell(`certtool --generate-certificate --load-privkey server-key.pem --load-ca-certificate ca-cert.pem \
      --load-ca-privkey ca-key.pem --template wrong-name.cfg --no-text --outfile wrong-name.pem`);
    const old = await readFile(join(dir, 'server-cert.pem'));
    await copyFile(join(dir, 'wrong-name.pem'), join(dir, 'server-cert.pem'));
    const reloads = (): number => appliance.logs.filter(({ event }) => event === 'tls-reloaded').length;
    const before = reloads();
    appliance.process.signal('SIGHUP');
    await appliance.process.until('the certificate is read again', () => (reloads() > before ? true : undefined));
    await refused("nbdinfo 'nbds://disks.example.net/public?tls-certificates=pki'");
    await writeFile(join(dir, 'server-cert.pem'), old);
    // Without being told: it looks by itself.
    await appliance.process.until('it is read once more', () => (reloads() > before + 1 ? true : undefined), 60_000);
    await shell(here("nbdinfo --size 'nbds://disks.example.net/public?tls-certificates=pki'"));
  });
});

it('status tells who is attached, by the command line', async (t) => {
  if (!requireTools(t, TOOLS)) return;
  const { port } = appliance.tcp;
  const main = join(import.meta.dirname, '../../src/main.ts');
  const status = `'${process.execPath}' '${main}' status --config '${appliance.configFile}'`;
  const inside = `nbdkit -U - nbd 'nbds://alice@localhost:${port}/media' tls-psk=keys.psk shared=true --run`;
  const json = (await shell(`${inside} "${status} --json"`)).stdout;
  const [connection] = JSON.parse(json).connections;
  assert.deepEqual(
    { ...connection, peer: '', connectedMs: 0, requests: 0, readBytes: 0, writtenBytes: 0 },
    {
      peer: '',
      state: 'attached',
      tls: 'TLSv1.3',
      client: ['psk:alice'],
      volume: 'media',
      readOnly: false,
      connectedMs: 0,
      requests: 0,
      requestsInFlight: 0,
      inFlightBytes: 0,
      readBytes: 0,
      writtenBytes: 0,
    },
  );
  const text = (await shell(`${inside} "${status}"`)).stdout;
  assert.match(text, /127\.0\.0\.1:\d+ +psk:alice +TLSv1\.3 +media/);
  assert.match(
    text,
    /tls +required; certificate CN=localhost until \d{4}-\d\d-\d\d; certificates of clients optional; 2 users/,
  );
});
