#!/usr/bin/env node
/**
 * The entry: refuses a Node that is too old, then loads the rest and ends the process with its exit code.
 * Nothing here may need what such a Node does not have, and so everything else is loaded only after the check.
 */

const NODE_MAJOR_MIN = 24;

if (Number(process.versions.node.split('.')[0]) < NODE_MAJOR_MIN) {
  process.stderr.write(
    `bucketdisk needs Node ${NODE_MAJOR_MIN} or newer, and this is Node ${process.versions.node}.\n`,
  );
  process.exit(2);
} else {
  // A reader that goes away, as in `bucketdisk status | head -1`, is not a failure of ours.
  for (const stream of [process.stdout, process.stderr]) stream.on('error', () => undefined);
  import('./cli/run.ts')
    .then(({ run }) =>
      run(process.argv.slice(2), {
        env: process.env,
        cwd: process.cwd(),
        stdin: process.stdin,
        stdout: process.stdout,
        stderr: process.stderr,
        signals: process,
        loadActions: () => import('./app.ts').then(({ createActions }) => createActions()),
      }),
    )
    .then(
      (exitCode) => process.exit(exitCode),
      (error) => {
        console.error(error);
        process.exit(1);
      },
    );
}
