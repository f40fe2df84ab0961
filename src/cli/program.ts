/** The command line: its verbs, the options they share, and its help. */
import { Command } from 'commander';
import { addBench } from './bench.ts';
import { addCache } from './cache.ts';
import { collect, type Frame } from './command-frame.ts';
import { addCompletion } from './completion.ts';
import { addConfig } from './config.ts';
import { addCreate } from './create.ts';
import { addDoctor } from './doctor.ts';
import { addErase } from './erase.ts';
import { addFlush } from './flush.ts';
import { addHealth } from './health.ts';
import { rememberVerbs } from './help-hint.ts';
import { addJob } from './job.ts';
import { addMount, addUnmount } from './mount.ts';
import { packageVersion } from './package-version.ts';
import { addResize } from './resize.ts';
import { addScan } from './scan.ts';
import { addServe } from './serve.ts';
import { addStatus } from './status.ts';
import { addSupportBundle } from './support-bundle.ts';
import { addTop } from './top.ts';
import { addVersion } from './version.ts';
import { addWarm } from './warm.ts';

/** Throws CommanderError where the command line is wrong, and when help has been printed. */
export function buildProgram(frame: Frame): Command {
  const { stdout, stderr } = frame.host;
  const program = new Command('bucketdisk')
    .description('A disk in a bucket: virtual disks whose bytes live in S3, served over NBD.')
    .version(packageVersion(), '-V, --version', 'print the version')
    .option('-c, --config <file>', 'configuration file in JSON5; may be repeated, later files win', collect)
    .option('-s, --set <path=value>', 'set one setting, over files and environment; may be repeated', collect)
    .option('--json', 'print the answer as JSON on stdout')
    .option('--log-level <level>', 'error, warn, info or debug')
    .configureHelp({ showGlobalOptions: true, sortSubcommands: false })
    // Errors are told by the caller, who knows in which shape.
    .configureOutput({
      writeOut: (text) => stdout.write(text),
      writeErr: (text) => stderr.write(text),
      outputError: () => undefined,
      getOutHelpWidth: () => stdout.columns || 100,
      getErrHelpWidth: () => stderr.columns || 100,
    })
    .addHelpText(
      'after',
      `
Examples:
  bucketdisk serve                                   try it out: a 1GiB disk in ./data
  bucketdisk serve --config media.json5              serve the volumes of a file
  bucketdisk config show --sources                   what is set, and by whom
  bucketdisk serve --set store.url=s3://my-bucket --set volumes.media.size=1TiB

Every setting can be given in a file (JSON5), in the environment (BUCKETDISK_STORE_URL for
store.url) and with --set, which wins. docs/CONFIGURATION.md lists them all.`,
    );
  addServe(program, frame);
  addCreate(program, frame);
  addStatus(program, frame);
  addTop(program, frame);
  addHealth(program, frame);
  addDoctor(program, frame);
  addMount(program, frame);
  addUnmount(program, frame);
  addFlush(program, frame);
  addWarm(program, frame);
  addScan(program, frame);
  addResize(program, frame);
  addErase(program, frame);
  addCache(program, frame);
  addJob(program, frame);
  addConfig(program, frame);
  addBench(program, frame);
  addSupportBundle(program, frame);
  addCompletion(program, frame);
  addVersion(program, frame);
  rememberVerbs(program);
  return program;
}
