/** `bucketdisk serve`: runs the appliance until it is told to stop. */
import type { Command } from 'commander';
import { configuredVolume } from '../config/configured-volume.ts';
import { collect, type Frame, withContext } from './command-frame.ts';
import { EXIT_CODES_HELP } from './exit-code.ts';

export function addServe(program: Command, frame: Frame): void {
  program
    .command('serve')
    .summary('serve the configured volumes over NBD')
    .description(
      'Serves the configured volumes over NBD until SIGTERM or SIGINT. A volume that does not exist yet is created, where ' +
        'its place in the bucket is empty and its size is configured. The first signal finishes the requests under way, ' +
        'the second one does not wait for them; neither loses a flush that was answered. SIGHUP reads certificates and keys ' +
        'again, unless it runs on a terminal.',
    )
    .option('--take-over <volume>', 'take the volume from the appliance that holds it; may be repeated', collect)
    .addHelpText(
      'after',
      `
Examples:
  bucketdisk serve
  bucketdisk serve --config /etc/bucketdisk.json5 --set nbd.socket=/run/bucketdisk.sock
  bucketdisk serve --take-over media                 after the other machine is surely gone
${EXIT_CODES_HELP}`,
    )
    .action((options: { takeOver?: readonly string[] }, command: Command) =>
      withContext(frame, command, { patient: true }, async (context, interrupt) => {
        const takeOver = options.takeOver ?? [];
        for (const name of takeOver) configuredVolume(context.settings, name);
        const actions = await frame.host.loadActions();
        // On a terminal it means that the terminal has gone, and with it whoever started us.
        const onReload = frame.host.stdin.isTTY === true ? undefined : interrupt.onHangup;
        const reloads = onReload === undefined ? {} : { onReload };
        return actions.serve(context, { takeOver, stop: interrupt.first, ...reloads });
      }),
    );
}
