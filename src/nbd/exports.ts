/** What the server is given to serve, and who asks for it. */
import type { BlockDevice } from '../volume/block-device.ts';

/** What a client has shown of itself when it asks for an export. */
export interface ClientIdentity {
  /** Version of TLS, such as `TLSv1.3`; null where the connection is not encrypted. */
  readonly tls: string | null;
  /** What it has proved to be, the most telling first: `cn:nas`, `dns:nas.example.net`, `psk:alice`, `socket`. Empty: nobody in particular. */
  readonly names: readonly string[];
}

/** Somebody who has shown nothing, on a connection that is not encrypted. */
export const NOBODY: ClientIdentity = Object.freeze({ tls: null, names: Object.freeze([]) });

/** A disk a client can ask for by name. */
export interface NbdExport {
  readonly name: string;
  /** Free text for people; empty for none. */
  readonly description: string;
  readonly device: BlockDevice;
  /** This client may only read, whatever the device allows. */
  readonly readOnly?: boolean;
  /** Why it cannot be attached at the moment, for people; null or left out where it can. It is listed and described all the same. */
  readonly closed?: string | null;
}

/**
 * Looked at whenever a client asks, so exports may come and go while the server runs. An export that a client may not have
 * is not there for it.
 */
export interface ExportTable {
  /** Every export for this client, in the order clients see them. */
  list(client: ClientIdentity): readonly NbdExport[];
  /** `''` asks for the default export. Undefined where there is none of that name for this client. */
  find(name: string, client: ClientIdentity): NbdExport | undefined;
}
