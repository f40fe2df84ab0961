/** `bucketdisk doctor`: its checks, put together with the machine, the settings, the bucket and the appliance that runs. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { askAppliance } from './admin/control-client.ts';
import type { ApplianceStatus, DoctorOptions, DoctorReport } from './cli/actions.ts';
import type { Settings } from './config/settings.ts';
import { checkCacheDisk } from './doctor/checks/cache-disk.ts';
import { checkConfiguration } from './doctor/checks/configuration.ts';
import { checkCredentials } from './doctor/checks/credentials.ts';
import { checkFuse, checkLoop, checkNbd, checkPropagation, isContainer } from './doctor/checks/devices.ts';
import { checkLoopDevices, checkMounts, leftoverResults } from './doctor/checks/leftovers.ts';
import { checkListening } from './doctor/checks/listening.ts';
import { checkCapabilities, checkDescriptors, checkMemory, checkNode } from './doctor/checks/process.ts';
import { checkTls, type TlsFacts } from './doctor/checks/tls.ts';
import { leaseResults, volumeResults } from './doctor/checks/volumes.ts';
import type { Facts, RunningFacts, VolumeFacts } from './doctor/facts.ts';
import { type Check, fail, ok } from './doctor/finding.ts';
import { runChecks } from './doctor/run-checks.ts';
import { SystemMachine } from './doctor/system-machine.ts';
import { BucketChecks } from './doctor-buckets.ts';
import { findLeftovers } from './find-leftovers.ts';
import { hasty, lookAtVolume } from './idle-volumes.ts';
import { SystemClock } from './lib/clock.ts';
import { describeError } from './lib/errors.ts';
import { silentLog } from './lib/log.ts';
import { type MountEntry, readMountTable } from './lib/mount-table.ts';
import { StateDir } from './lib/state-dir.ts';
import { EXPIRY_WARNING_MS } from './nbd/tls/credential-files.ts';
import { loadCredentials } from './nbd/tls/credentials.ts';
import { Stores } from './stores.ts';

/** So long an appliance may take to answer, and a bucket to be reached. */
const ANSWER_TIMEOUT_MS = 5_000;

export async function examine(options: DoctorOptions): Promise<DoctorReport> {
  const { settings, env, signal, onFinding } = options;
  const clock = new SystemClock();
  const machine = new SystemMachine(env);
  const table = mountTable();
  const stores =
    settings === null ? null : new Stores({ settings: hasty(settings, ANSWER_TIMEOUT_MS), clock, log: silentLog });
  try {
    const configured =
      settings === null || stores === null
        ? []
        : await configuredChecks({ ...options, settings }, machine, table, stores);
    const checks: Check[] = [
      { name: 'node', run: () => checkNode(machine) },
      { name: 'configuration', run: () => checkConfiguration(options) },
      ...configured,
      ...(settings === null ? machineChecks(machine, table, null) : []),
    ];
    const findings = await runChecks(checks, { clock, signal, onFinding });
    return { ok: findings.every(({ state }) => state !== 'fail'), findings };
  } finally {
    await stores?.close();
  }
}

async function configuredChecks(
  { settings, signal, credentialsFrom }: DoctorOptions & { readonly settings: Settings },
  machine: SystemMachine,
  table: readonly MountEntry[],
  stores: Stores,
): Promise<Check[]> {
  const appliance = await findAppliance(settings, signal);
  const facts: Facts = { settings, running: appliance.running };
  const buckets = new BucketChecks(settings, stores);
  let volumes: readonly VolumeFacts[] | null = null;
  const lookAtVolumes = async (until: AbortSignal): Promise<readonly VolumeFacts[]> => {
    volumes ??= appliance.running?.volumes ?? (await idleVolumes(settings, stores, buckets, until));
    return volumes;
  };
  const served = appliance.running?.volumes.map(({ name }) => name) ?? null;
  return [
    { name: 'appliance', run: () => [appliance.result] },
    {
      name: 'credentials',
      run: (until) =>
        checkCredentials(
          {
            store: settings.store,
            usesS3: buckets.usesS3,
            configuredIn: credentialsFrom,
            now: new Date(),
            // Loaded only where it is used: the SDK takes longer to load than everything else together.
            find: async () => (await import('./doctor/find-credentials.ts')).findCredentials(settings.store.profile),
          },
          until,
        ),
    },
    ...buckets.checks(),
    {
      name: 'volumes',
      run: async (until) =>
        volumeResults(await lookAtVolumes(until), Object.keys(settings.volumes), appliance.running !== null),
    },
    { name: 'leases', run: async (until) => leaseResults(await lookAtVolumes(until)) },
    { name: 'cache disk', run: () => checkCacheDisk(machine, table, facts) },
    { name: 'unsaved writes', run: async () => leftoverResults(await findLeftovers(settings, served)) },
    { name: 'addresses', run: () => checkListening(machine, facts) },
    { name: 'tls', run: () => checkTls(tlsLoader(settings), new Date(), EXPIRY_WARNING_MS) },
    { name: 'open files', run: () => checkDescriptors(machine, facts) },
    { name: 'memory', run: () => checkMemory(machine, facts) },
    ...machineChecks(machine, table, facts),
  ];
}

/** Null where no client can use TLS. */
function tlsLoader({ nbd: { tls } }: Settings): (() => Promise<TlsFacts>) | null {
  return tls.mode === 'off' && tls.socketMode === 'off' ? null : () => loadCredentials(tls);
}

/** What can be looked at without a configuration, too. */
function machineChecks(machine: SystemMachine, table: readonly MountEntry[], facts: Facts | null): Check[] {
  const running = facts?.running ?? null;
  const fuseDir = facts?.settings.fuse.dir ?? null;
  const mounting = fuseDir !== null;
  const dirs = facts === null ? [] : [join(facts.settings.cache.dir, 'disks'), ...(fuseDir === null ? [] : [fuseDir])];
  return [
    { name: 'fuse', run: () => checkFuse(machine, mounting) },
    { name: 'loop devices', run: () => checkLoop(machine) },
    { name: 'kernel nbd', run: () => checkNbd(machine) },
    { name: 'capabilities', run: () => checkCapabilities(machine, { running, mounting }) },
    { name: 'propagation', run: () => checkPropagation(table, fuseDir ?? '/', isContainer(machine)) },
    { name: 'stale mounts', run: () => checkMounts(machine, table, running) },
    { name: 'stale loop devices', run: () => checkLoopDevices(machine, table, dirs, running) },
  ];
}

interface FoundAppliance {
  readonly running: RunningFacts | null;
  readonly result: ReturnType<typeof ok>;
}

async function findAppliance(settings: Settings, signal: AbortSignal): Promise<FoundAppliance> {
  const { dir } = settings.cache;
  const until = AbortSignal.any([signal, AbortSignal.timeout(ANSWER_TIMEOUT_MS)]);
  try {
    const answer = await askAppliance(StateDir.controlSocketPath(dir), 'GET', '/v1/status', undefined, until);
    if (answer === null) return { running: null, result: ok(`none runs with ${dir}`) };
    const running = answer as ApplianceStatus;
    return { running, result: ok(`${running.version} runs with ${dir} (pid ${running.pid})`) };
  } catch (error) {
    const message = `one runs with ${dir} and does not answer: ${describeError(error)}`;
    return { running: null, result: fail(message, 'look at its log; where it hangs, SIGKILL loses no answered flush') };
  }
}

/** A bucket that cannot be reached has been told of: its volumes are not asked for, one by one, again. */
async function idleVolumes(
  settings: Settings,
  stores: Stores,
  buckets: BucketChecks,
  signal: AbortSignal,
): Promise<VolumeFacts[]> {
  const askable = Object.values(settings.volumes).filter((volume) =>
    buckets.isReachable(stores.locate(volume).storeUrl),
  );
  return Promise.all(askable.map((volume) => lookAtVolume(volume, settings.cache.dir, stores, signal)));
}

/** Empty where there is no /proc. */
function mountTable(): MountEntry[] {
  return existsSync('/proc/self/mountinfo') ? readMountTable() : [];
}
