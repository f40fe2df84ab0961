/** A disk served by a process of its own, its bucket, clients that work on it, and what is known of each of its sectors. */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { askAppliance } from '../../../src/admin/control-client.ts';
import type { ApplianceStatus, VolumeStatus } from '../../../src/cli/actions.ts';
import { Random } from '../../conformance/lease/random.ts';
import { type Appliance, startAppliance } from '../../support/appliance.ts';
import { type RunningProcess, startProcess } from '../../support/run-command.ts';
import {
  cutBody,
  type FaultMatch,
  late,
  lateAnswer,
  lostAnswer,
  refuse,
  status,
} from '../../support/s3-server/faults.ts';
import type { S3Server } from '../../support/s3-server/s3-server.ts';
import { SECTOR_BYTES } from '../../support/sectors.ts';
import { tempDir } from '../../support/temp.ts';
import { BLOCK_KEY, fileBucket, s3Bucket } from './buckets.ts';
import { DiskLoad, type VerifyOptions, verifyDisk } from './disk-load.ts';
import { DiskModel } from './disk-model.ts';

export type Section = Readonly<Record<string, unknown>>;

export interface DiskVariant {
  readonly name: string;
  readonly blockBytes: number;
  readonly diskBytes: number;
  readonly volume?: Section;
  readonly on: 'file' | 's3' | 'faulty s3';
  /** Of the configuration; without it there is no cache, and what is answered is in the bucket. */
  readonly cache?: Section;
}

const KIB = 1024;
const CONNECTIONS = 4;
const MAIN = fileURLToPath(new URL('../../../src/main.ts', import.meta.url));
/** A start takes about half of this where nobody else is at work. */
const STARTING_MS_MAX = 1200;

export class DiskRig {
  readonly t: TestContext;
  readonly variant: DiskVariant;
  readonly store: Section;
  readonly server: S3Server | null;
  readonly dir: string;
  readonly random: Random;
  readonly model: DiskModel;
  /** Sections of the configuration besides the store, the cache and the volume. */
  settings: Section;
  /** Over those of the variant. */
  cache: Section = {};
  volume: Section = {};
  #loads: DiskLoad[] = [];

  private constructor(t: TestContext, variant: DiskVariant, seed: number, settings: Section, parts: RigParts) {
    this.t = t;
    this.variant = variant;
    this.settings = settings;
    this.store = parts.store;
    this.server = parts.server;
    this.dir = parts.dir;
    this.random = new Random(seed);
    this.model = new DiskModel(variant.diskBytes / SECTOR_BYTES, { answeredIsDurable: variant.cache === undefined });
    if (variant.on === 'faulty s3' && this.server !== null) misbehave(this.server, new Random(seed + 1));
  }

  static async make(t: TestContext, variant: DiskVariant, seed: number, settings: Section = {}): Promise<DiskRig> {
    const dir = await tempDir(t, 'disk');
    if (variant.on === 'file') {
      return new DiskRig(t, variant, seed, settings, { dir, store: (await fileBucket(t)).section, server: null });
    }
    const { section, server } = await s3Bucket(t);
    return new DiskRig(t, variant, seed, settings, { dir, store: section, server });
  }

  get config(): Section {
    const { diskBytes, blockBytes } = this.variant;
    const size = { size: `${diskBytes / KIB}KiB`, blockSize: `${blockBytes / KIB}KiB` };
    return {
      store: this.store,
      cache: { ...(this.variant.cache ?? { size: '0' }), ...this.cache },
      volumes: { disk: { ...size, ...this.variant.volume, ...this.volume } },
      log: { level: 'info' },
      ...this.settings,
    };
  }

  /** Where the cache of the disk is, when its directory is the usual one. */
  get cacheDir(): string {
    return join(this.dir, 'cache', 'volumes', 'disk');
  }

  start(args: readonly string[] = []): Promise<Appliance> {
    return startAppliance({ lifetime: this.t, config: this.config, dir: this.dir, args });
  }

  /** Somebody else's, with a directory of its own. */
  startOther(store: Section = this.store): Promise<Appliance> {
    return startAppliance({ lifetime: this.t, config: { ...this.config, store } });
  }

  /** Everything is in the bucket after a clean stop: whoever has no cache finds it there. */
  async finish(appliance: Appliance): Promise<void> {
    const { code, stderr } = await appliance.stop();
    assert.equal(code, 0, stderr.slice(-2000));
    const other = await this.startOther();
    await this.verify(other);
    assert.equal((await other.stop()).code, 0);
  }

  /** Starts it without waiting for anything. */
  beginStart({ configFile }: Pick<Appliance, 'configFile'>): RunningProcess {
    return startProcess(this.t, process.execPath, [MAIN, 'serve', '--config', configFile], { cwd: this.dir });
  }

  async killWhileStarting(appliance: Pick<Appliance, 'configFile'>): Promise<void> {
    const starting = this.beginStart(appliance);
    await delay(this.random.int(0, STARTING_MS_MAX));
    await starting.stop('SIGKILL');
  }

  /** As a power cut would, as far as the process goes. Returns how many requests had been answered. */
  async kill(appliance: Appliance): Promise<number> {
    await appliance.kill();
    const answered = await this.loadsEnded();
    if (this.variant.cache !== undefined) this.model.crash();
    return answered;
  }

  /** Has the disk served, changed and read; `connections` clients at once. */
  async startLoad(appliance: Appliance, connections = CONNECTIONS): Promise<void> {
    await this.attachLoad(appliance, connections);
    for (const load of this.#loads.slice(-connections)) load.begin();
  }

  /** Clients that ask for nothing until they are told to begin. */
  async attachLoad({ socket }: Appliance, connections = CONNECTIONS): Promise<void> {
    const { model, variant } = this;
    const { blockBytes } = variant;
    const options = {
      address: { path: socket },
      model,
      random: () => this.random.next(),
      exportName: 'disk',
      blockBytes,
    };
    for (let at = 0; at < connections; at++) this.#loads.push(await DiskLoad.attach(options));
  }

  get loads(): readonly DiskLoad[] {
    return this.#loads;
  }

  get answered(): number {
    return this.#loads.reduce((sum, { counts }) => sum + counts.answered, 0);
  }

  /** Error numbers that clients were answered with. */
  get errors(): number[] {
    return [...new Set(this.#loads.flatMap(({ counts }) => [...counts.errors.keys()]))];
  }

  /** Resolves with the number of answers once every connection has ended. */
  async loadsEnded(): Promise<number> {
    await Promise.all(this.#loads.map(({ ended }) => ended));
    const { answered } = this;
    this.#loads = [];
    return answered;
  }

  async stopLoad(): Promise<number> {
    await Promise.all(this.#loads.map((load) => load.stop()));
    return this.loadsEnded();
  }

  /** Clients work for so long, and nothing of it fails. */
  async loadFor(appliance: Appliance, ms: number): Promise<void> {
    await this.startLoad(appliance);
    await delay(ms);
    assert.deepEqual(this.errors, []);
    await this.stopLoad();
  }

  /** Blocks can be read, and no longer be stored or deleted, until the returned function is called. */
  holdBlocksBack(): () => void {
    const { server } = this;
    assert.ok(server !== null);
    const rules = [
      server.faults.add(refuse(), { method: 'PUT', key: BLOCK_KEY }),
      server.faults.add(refuse(), { op: 'DeleteObjects' }),
    ];
    return () => {
      for (const rule of rules) rule.remove();
    };
  }

  verify({ socket }: Appliance, options?: VerifyOptions): Promise<void> {
    return verifyDisk({ path: socket }, 'disk', this.model, options);
  }

  /** What the appliance tells of the disk. */
  async status(appliance: Pick<Appliance, 'dir'>): Promise<VolumeStatus> {
    const socket = join(appliance.dir, 'cache', 'control.sock');
    const answer = (await askAppliance(socket, 'GET', '/v1/status')) as ApplianceStatus;
    const volume = answer.volumes.find(({ name }) => name === 'disk');
    if (volume === undefined) throw new Error('the appliance does not know the disk');
    return volume;
  }
}

interface RigParts {
  readonly dir: string;
  readonly store: Section;
  readonly server: S3Server | null;
}

/** Slow, forgetful and overloaded, but never so slow that a request outlives the process that sent it by much. */
function misbehave({ faults, latency }: S3Server, random: Random): void {
  Object.assign(latency, { getMs: 2, headMs: 2, putMs: 4, deleteMs: 3, listMs: 5 });
  const sometimes = (probability: number): FaultMatch => ({ when: () => random.chance(probability) });
  faults.add(late(60), sometimes(0.08));
  faults.add(lateAnswer(80), sometimes(0.05));
  faults.add(lostAnswer(), sometimes(0.03));
  faults.add(refuse(), sometimes(0.02));
  faults.add(cutBody(), sometimes(0.03));
  faults.add(status(500), sometimes(0.01));
  faults.add(status(503), sometimes(0.02));
  faults.add(status(503, { retryAfter: 1 }), sometimes(0.003));
}
