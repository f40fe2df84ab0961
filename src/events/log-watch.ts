/** Tells, once each time, that a volume's write log fills up, and that it has room again. */
import type { Log } from '../lib/log.ts';

const FILLING_SHARE = 0.8;
/** Lower, so that a log that stays about as full is told of once. */
const RELIEVED_SHARE = 0.7;

export interface LogFullness {
  readonly volume: string;
  readonly usedBytes: number;
  readonly sizeBytes: number;
}

export class LogWatch {
  readonly #log: Log;
  readonly #filling = new Set<string>();

  constructor(log: Log) {
    this.#log = log;
  }

  /** How full the log is at present. */
  note({ volume, usedBytes, sizeBytes }: LogFullness): void {
    const share = usedBytes / sizeBytes;
    const fields = { volume, usedBytes, sizeBytes };
    if (share > FILLING_SHARE && !this.#filling.has(volume)) {
      this.#filling.add(volume);
      const message = 'the write log is over 80% full: writes are slowed, and wait when it is full';
      this.#log.warn(message, { ...fields, event: 'log-filling' });
    } else if (share < RELIEVED_SHARE && this.#filling.delete(volume)) {
      this.#log.info('the write log has room again', { ...fields, event: 'log-relieved' });
    }
  }
}
