/** What a modest client waits for beside greedy ones: one request at a time, while others have many large ones under way. */
import type { Measured, Subject } from '../comparison.ts';
import { type FioJob, runFio } from '../fio.ts';
import { startMemoryServer, startUnixNbdkit } from '../nbd-servers.ts';
import type { Bench, Scenario } from '../scenario.ts';

const KIB = 1024;
const MIB = 1024 * KIB;
const SIZE_BYTES = 256 * MIB;
const MODEST: Pick<FioJob, 'rw' | 'blockBytes' | 'depth'> = { rw: 'randread', blockBytes: 4 * KIB, depth: 1 };
/** The greedy ones begin so much earlier, and end so much later. */
const MARGIN_SECONDS = 0.5;

interface Greedy {
  readonly label: string;
  readonly job: Pick<FioJob, 'rw' | 'blockBytes' | 'depth'>;
}

const GREEDY: readonly Greedy[] = [
  { label: '1M reads q16', job: { rw: 'read', blockBytes: MIB, depth: 16 } },
  { label: '1M writes q16', job: { rw: 'write', blockBytes: MIB, depth: 16 } },
  { label: '4k reads q64', job: { rw: 'randread', blockBytes: 4 * KIB, depth: 64 } },
];
const COUNTS = [1, 4, 8];

async function run(bench: Bench): Promise<void> {
  const ours = await startMemoryServer(bench.lifetime, SIZE_BYTES, bench.env);
  const theirs = await startUnixNbdkit(bench.lifetime, ['memory', String(SIZE_BYTES)]);
  const servers = [
    { name: 'bucketdisk, memory', uri: ours.unixUri },
    { name: 'nbdkit memory', uri: theirs.uri },
  ];
  for (const { uri } of servers) {
    const fill = { target: { uri }, rw: 'write', blockBytes: MIB, depth: 4, sizeBytes: SIZE_BYTES } as const;
    await runFio(bench.lifetime, fill);
  }
  await compareBeside(bench, 'alone', null, 0, servers);
  for (const { label, job } of GREEDY) {
    for (const count of COUNTS) await compareBeside(bench, `beside ${count} x ${label}`, job, count, servers);
  }
}

async function compareBeside(
  bench: Bench,
  label: string,
  greedy: Greedy['job'] | null,
  count: number,
  servers: readonly { readonly name: string; readonly uri: string }[],
): Promise<void> {
  const { lifetime } = bench;
  const subjects = servers.map(
    ({ name, uri }): Subject => ({
      name,
      measure: async (seconds): Promise<Measured> => {
        const target = { target: { uri }, sizeBytes: SIZE_BYTES };
        const others =
          greedy === null
            ? null
            : runFio(lifetime, { ...target, ...greedy, jobs: count, seconds: seconds + 2 * MARGIN_SECONDS });
        if (others !== null) await new Promise((resolve) => setTimeout(resolve, MARGIN_SECONDS * 1000));
        const modest = await runFio(lifetime, { ...target, ...MODEST, seconds });
        const load = await others;
        const values = { p50: modest.latencyP50Us, p99: modest.latencyP99Us };
        return { values: { ...values, others: (load?.bytesPerSecond ?? 0) / MIB } };
      },
    }),
  );
  const latency = (key: string, of: string) =>
    ({ key, label: `4k read q1 ${label}, ${of}`, unit: 'us', better: 'less' }) as const;
  await bench.compare({
    metrics: [
      latency('p50', 'median'),
      latency('p99', '99 of 100'),
      ...(greedy === null
        ? []
        : [{ key: 'others', label: `the others, ${label.slice(7)}`, unit: 'MiB/s', better: 'more' as const }]),
    ],
    subjects,
    warmupSeconds: 0,
  });
}

export const nbdFairness: Scenario = {
  name: 'fairness',
  about: 'the latency of a client with one request at a time beside 1, 4 and 8 greedy ones, against nbdkit memory',
  tools: ['fio', 'nbdkit'],
  facilities: [],
  run,
};
