/** How fast uploads may go by day and by night. */
import type { Clock } from '../lib/clock.ts';

export interface UploadWindow {
  /** On which it begins: 0 is Sunday, 6 Saturday. */
  readonly days: readonly number[];
  /** Minutes since midnight, half-open. Where the end is not after the beginning it is on the next day. */
  readonly fromMinute: number;
  readonly toMinute: number;
  /** Bytes a second; 0: closed, nothing is uploaded that can wait. */
  readonly rateBytes: number;
}

export interface UploadWindowStatus {
  /** False: what can wait is not uploaded now. */
  readonly open: boolean;
  /** The bound of the window; null where there is none. */
  readonly rateBytes: number | null;
  /** When that changes, ISO 8601; null where it does not. */
  readonly until: string | null;
}

const MINUTE_MS = 60_000;
const DAY_MINUTES = 24 * 60;
const WEEK_MINUTES = 7 * DAY_MINUTES;
const DAYS = ['Sun', 'Mon', 'Tue', 'Wed', 'Thu', 'Fri', 'Sat'];

export class UploadWindows {
  readonly #windows: readonly UploadWindow[];
  readonly #clock: Clock;
  readonly #format: Intl.DateTimeFormat;
  #lifted = false;
  /** What was found out for a minute, which is asked for with every write. */
  #minute = -1;
  #rateBytes: number | null = null;

  /** Of windows that overlap the first counts. `timezone`: an IANA name; null: the system's. */
  constructor(windows: readonly UploadWindow[], timezone: string | null, clock: Clock) {
    this.#windows = windows;
    this.#clock = clock;
    this.#format = new Intl.DateTimeFormat('en-US', {
      weekday: 'short',
      hour: '2-digit',
      minute: '2-digit',
      hourCycle: 'h23',
      ...(timezone === null ? {} : { timeZone: timezone }),
    });
  }

  /** The bound at present in bytes a second: 0 where the window is closed, null where there is none. */
  get rateBytes(): number | null {
    if (this.#lifted || this.#windows.length === 0) return null;
    const now = this.#clock.date();
    const minute = Math.floor(now.getTime() / MINUTE_MS);
    if (minute !== this.#minute) {
      this.#rateBytes = this.#rateAt(this.#minuteOfWeek(now));
      this.#minute = minute;
    }
    return this.#rateBytes;
  }

  get isOpen(): boolean {
    return this.rateBytes !== 0;
  }

  /** From now on there is no bound: the appliance stops, and what is left should get away. */
  lift(): void {
    this.#lifted = true;
  }

  status(): UploadWindowStatus {
    const rateBytes = this.rateBytes;
    return { open: rateBytes !== 0, rateBytes: rateBytes === 0 ? null : rateBytes, until: this.#until(rateBytes) };
  }

  /** Where clocks change before that, by their time of now. */
  #until(rateBytes: number | null): string | null {
    if (this.#lifted || this.#windows.length === 0) return null;
    const now = this.#clock.date();
    const minute = this.#minuteOfWeek(now);
    const edges = this.#windows.flatMap(({ days, fromMinute, toMinute }) =>
      days.flatMap((day) => {
        const from = day * DAY_MINUTES + fromMinute;
        return [from, from + lengthOf(fromMinute, toMinute)];
      }),
    );
    const distances = edges.map((edge) => (((edge - minute) % WEEK_MINUTES) + WEEK_MINUTES) % WEEK_MINUTES);
    for (const distance of distances.toSorted((a, b) => a - b)) {
      if (distance === 0 || this.#rateAt((minute + distance) % WEEK_MINUTES) === rateBytes) continue;
      return new Date((Math.floor(now.getTime() / MINUTE_MS) + distance) * MINUTE_MS).toISOString();
    }
    return null;
  }

  #rateAt(minute: number): number | null {
    for (const { days, fromMinute, toMinute, rateBytes } of this.#windows) {
      for (const day of days) {
        const since = (minute - day * DAY_MINUTES - fromMinute + 2 * WEEK_MINUTES) % WEEK_MINUTES;
        if (since < lengthOf(fromMinute, toMinute)) return rateBytes;
      }
    }
    return null;
  }

  #minuteOfWeek(date: Date): number {
    const parts = new Map(this.#format.formatToParts(date).map(({ type, value }) => [type, value]));
    const day = DAYS.indexOf(parts.get('weekday') ?? '');
    return day * DAY_MINUTES + Number(parts.get('hour')) * 60 + Number(parts.get('minute'));
  }
}

/** The same time twice is a whole day. */
function lengthOf(fromMinute: number, toMinute: number): number {
  return toMinute > fromMinute ? toMinute - fromMinute : toMinute + DAY_MINUTES - fromMinute;
}
