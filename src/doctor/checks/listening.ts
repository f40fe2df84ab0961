/** Checks of the addresses that are to be listened on: free, or the running appliance's. */
import { dirname } from 'node:path';
import type { ListenAddress } from '../../config/settings.ts';
import type { Facts } from '../facts.ts';
import { fail, ok, type Result } from '../finding.ts';
import type { Machine } from '../machine.ts';

export async function checkListening(machine: Machine, { settings, running }: Facts): Promise<Result[]> {
  const { nbd, admin } = settings;
  if (running !== null) {
    return [ok(`the running appliance listens on ${running.nbd.join(', ') || 'nothing for NBD'}`)];
  }
  const addresses: [string, ListenAddress][] = nbd.listen.map((address) => ['nbd.listen', address]);
  if (admin.listen !== null) addresses.push(['admin.listen', admin.listen]);
  const results: Result[] = [];
  for (const [setting, address] of addresses) results.push(await listenResult(machine, setting, address));
  if (nbd.socket !== null) results.push(await socketResult(machine, nbd.socket));
  return results.length > 0 ? results : [ok('nothing is listened on')];
}

async function listenResult(machine: Machine, setting: string, { host, port }: ListenAddress): Promise<Result> {
  const where = `${host.includes(':') ? `[${host}]` : host}:${port}`;
  if (port === 0) return ok(`${setting}: the kernel picks a port of ${host}`);
  switch (await machine.listenError(host, port)) {
    case null:
      return ok(`${where} (${setting}) is free`);
    case 'EADDRINUSE':
      return fail(
        `${where} (${setting}) is in use by another process`,
        `"ss -ltnp sport = :${port}" tells by which: stop it, or set another ${setting}`,
      );
    case 'EACCES':
      return fail(
        `${where} (${setting}) may not be listened on`,
        'use a port above 1023, or give it CAP_NET_BIND_SERVICE',
      );
    case 'EADDRNOTAVAIL':
      return fail(`${host} (${setting}) is no address of this machine`, `set ${setting} to one that is, or to 0.0.0.0`);
    default:
      return fail(`${where} (${setting}) cannot be listened on`, `set another ${setting}`);
  }
}

async function socketResult(machine: Machine, path: string): Promise<Result> {
  const there = machine.stat(path);
  if (there !== null && there.kind !== 'socket') {
    return fail(`${path} (nbd.socket) is there and is no socket`, 'remove it, or set another nbd.socket');
  }
  if (there !== null && (await machine.connects(path))) {
    return fail(`another process listens on ${path} (nbd.socket)`, 'stop it, or set another nbd.socket');
  }
  const directory = dirname(path);
  const error = machine.openError(directory);
  if (error !== null) {
    return fail(
      `a socket cannot be made in ${directory} (nbd.socket): ${error}`,
      'make the directory, for the account that the appliance runs as',
    );
  }
  return ok(`${path} (nbd.socket) is free`);
}
