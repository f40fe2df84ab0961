/**
 * The least a durable write can cost here: appends to a file and syncs it, over and over, with nothing else around it.
 * `node test/bench/append-loop.ts --file PATH --bytes N --seconds N`. Prints the median of one append with its sync as JSON.
 */
import { closeSync, fdatasyncSync, openSync, writeSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { summarize } from './statistics.ts';

const { values } = parseArgs({
  options: { file: { type: 'string' }, bytes: { type: 'string' }, seconds: { type: 'string', default: '2' } },
});
if (values.file === undefined || values.bytes === undefined) throw new Error('--file and --bytes are needed');

const data = Buffer.alloc(Number(values.bytes), 0x5a);
const file = openSync(values.file, 'w');
const samplesUs: number[] = [];
const end = performance.now() + Number(values.seconds) * 1000;
for (let began = performance.now(); began < end; began = performance.now()) {
  for (let at = 0; at < data.length; ) at += writeSync(file, data, at);
  fdatasyncSync(file);
  samplesUs.push((performance.now() - began) * 1000);
}
closeSync(file);
process.stdout.write(`${JSON.stringify({ count: samplesUs.length, p50Us: summarize(samplesUs).median })}\n`);
