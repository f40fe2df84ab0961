/** The NBD server alone: a device in memory behind it, against nbdkit's. */

import type { Measured, Subject } from '../comparison.ts';
import { type FioJob, runFio } from '../fio.ts';
import { startMemoryServer, startTcpNbdkit, startUnixNbdkit } from '../nbd-servers.ts';
import { withCpuTime } from '../process-usage.ts';
import type { Bench, Scenario } from '../scenario.ts';

const KIB = 1024;
const MIB = 1024 * KIB;
const SIZE_BYTES = 256 * MIB;
const OURS = 'bucketdisk, memory';
const THEIRS = 'nbdkit memory';

interface Case {
  readonly label: string;
  readonly job: Pick<FioJob, 'rw' | 'blockBytes' | 'depth' | 'jobs'>;
  readonly wanted: number;
}

const CASES: readonly Case[] = [
  { label: '4k randread q1', job: { rw: 'randread', blockBytes: 4 * KIB, depth: 1 }, wanted: 0.7 },
  { label: '4k randread q16', job: { rw: 'randread', blockBytes: 4 * KIB, depth: 16 }, wanted: 1.5 },
  { label: '4k randwrite q1', job: { rw: 'randwrite', blockBytes: 4 * KIB, depth: 1 }, wanted: 0.7 },
  { label: '4k randwrite q16', job: { rw: 'randwrite', blockBytes: 4 * KIB, depth: 16 }, wanted: 1 },
  { label: '1M read q4', job: { rw: 'read', blockBytes: MIB, depth: 4 }, wanted: 1.2 },
  { label: '1M write q4', job: { rw: 'write', blockBytes: MIB, depth: 4 }, wanted: 1.2 },
  { label: '4k randread 2 x q16', job: { rw: 'randread', blockBytes: 4 * KIB, depth: 16, jobs: 2 }, wanted: 1.5 },
];

interface Server {
  readonly name: string;
  readonly pid: number;
  readonly uri: string;
}

async function run(bench: Bench): Promise<void> {
  const { lifetime } = bench;
  const ours = await startMemoryServer(lifetime, SIZE_BYTES, bench.env);
  const plugin = ['memory', String(SIZE_BYTES)];
  const transports: readonly { name: string; servers: readonly Server[] }[] = [
    {
      name: 'unix',
      servers: [
        { name: OURS, pid: ours.pid, uri: ours.unixUri },
        { name: THEIRS, ...(await startUnixNbdkit(lifetime, plugin)) },
      ],
    },
    {
      name: 'TCP',
      servers: [
        { name: OURS, pid: ours.pid, uri: ours.tcpUri },
        { name: THEIRS, ...(await startTcpNbdkit(lifetime, plugin)) },
      ],
    },
  ];
  for (const { name, servers } of transports) {
    // nbdkit's memory is sparse: what was never written is read without touching it.
    for (const { uri } of servers) {
      await runFio(lifetime, { target: { uri }, rw: 'write', blockBytes: MIB, depth: 4, sizeBytes: SIZE_BYTES });
    }
    for (const { label, job, wanted } of CASES) await compareServers(bench, `${label}, ${name}`, job, wanted, servers);
  }
}

async function compareServers(
  bench: Bench,
  label: string,
  job: Case['job'],
  wanted: number,
  servers: readonly Server[],
): Promise<void> {
  const subjects = servers.map(
    ({ name, pid, uri }): Subject => ({
      name,
      measure: async (seconds): Promise<Measured> => {
        const fio = { ...job, target: { uri }, sizeBytes: SIZE_BYTES, seconds };
        const { result, cpuUs } = await withCpuTime([pid], () => runFio(bench.lifetime, fio));
        return { values: { rate: result.opsPerSecond }, cpuUsPerOp: cpuUs / result.operations };
      },
    }),
  );
  await bench.compare({
    metrics: [{ key: 'rate', label, unit: 'op/s', better: 'more', wanted: [{ against: THEIRS, ratio: wanted }] }],
    subjects,
    warmupSeconds: 0.5,
  });
}

export const nbd: Scenario = {
  name: 'nbd',
  about: 'the NBD server over a device in memory against nbdkit memory, over a unix socket and TCP',
  tools: ['fio', 'nbdkit'],
  facilities: [],
  run,
};
