/** The recent events of an appliance, in memory, and whoever wants to hear of new ones. */
import type { LogEntry } from '../telemetry/log-format.ts';
import { type ApplianceEvent, type EventFields, isEventName } from './event.ts';

/** Older ones are forgotten; the log has them. */
const EVENTS_MAX = 100;
const TEXT_LENGTH_MAX = 500;
const FIELDS_MAX = 20;

export type EventListener = (event: ApplianceEvent) => void;

/** Fed with lines of the log, so that what is said of an event is said once, and with its secrets masked already. */
export class EventLog {
  readonly #events: ApplianceEvent[] = [];
  readonly #listeners = new Set<EventListener>();

  /** The last ones, oldest first. */
  recent(): readonly ApplianceEvent[] {
    return [...this.#events];
  }

  /** Takes the line for an event where its field `event` is the name of one. */
  note({ time, level, message, fields }: LogEntry): void {
    const { event: name, volume, ...others } = fields;
    if (level === 'debug' || !isEventName(name)) return;
    const of = typeof volume === 'string' ? volume : null;
    const event = { at: time.toISOString(), name, level, volume: of, message, fields: bounded(others) };
    this.#events.push(event);
    if (this.#events.length > EVENTS_MAX) this.#events.shift();
    for (const listener of this.#listeners) listener(event);
  }

  /** Calls `listener`, which must not throw, for each event from now on. Returns how to end that. */
  subscribe(listener: EventListener): () => void {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }
}

/** No longer than a line, and without parts. */
function bounded(fields: LogEntry['fields']): EventFields {
  const entries = Object.entries(fields).slice(0, FIELDS_MAX);
  return Object.fromEntries(
    entries.map(([name, value]) => {
      if (value === null || typeof value === 'number' || typeof value === 'boolean') return [name, value];
      const text = typeof value === 'string' ? value : JSON.stringify(value);
      return [name, text.length > TEXT_LENGTH_MAX ? `${text.slice(0, TEXT_LENGTH_MAX)}...` : text];
    }),
  );
}
