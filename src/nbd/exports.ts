/** What the server is given to serve. */
import type { BlockDevice } from '../volume/block-device.ts';

/** A disk a client can ask for by name. */
export interface NbdExport {
  readonly name: string;
  /** Free text for people; empty for none. */
  readonly description: string;
  readonly device: BlockDevice;
}

/** Looked at whenever a client asks, so exports may come and go while the server runs. */
export interface ExportTable {
  /** Every export, in the order clients see them. */
  list(): readonly NbdExport[];
  /** `''` asks for the default export. Undefined where there is none of that name. */
  find(name: string): NbdExport | undefined;
}
