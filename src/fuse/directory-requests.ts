/** What is asked of the directory and of the files' attributes: answered at once, from what is known of the devices. */
import type { BlockDevice } from '../volume/block-device.ts';
import { AccessMask, Errno, FileType, OpenFlag, OpenReplyFlag, ROOT_NODE, SetAttributes } from './constants.ts';
import type { FileNodes, FuseFile } from './files.ts';
import {
  ATTRIBUTES_REPLY_BYTES,
  type Attributes,
  decodeFirstWord,
  decodeName,
  decodeSetAttributes,
  directoryEntryBytes,
  ENTRY_REPLY_BYTES,
  encodeAttributesReply,
  encodeDirectoryEntry,
  encodeEntry,
  encodeOpen,
  encodeTotals,
  OPEN_REPLY_BYTES,
  SECTOR_BYTES,
  STATFS_REPLY_BYTES,
  type TransferRequest,
} from './wire.ts';

/** Who the files belong to: the user the appliance runs as. */
export interface Owner {
  readonly uid: number;
  readonly gid: number;
}

/** So long the kernel keeps names and attributes: a volume that has grown or gone shows after this. */
const VALID_MS = 1000;
const NAME_BYTES_MAX = 255;
const TOTALS_BLOCK_BYTES = 4096;
const DIRECTORY_MODE = FileType.DIRECTORY | 0o755;
const FILE_MODE = FileType.REGULAR | 0o600;
const READ_ONLY_FILE_MODE = FileType.REGULAR | 0o400;
const PERMISSIONS = 0o7777;

/** How a request ends: with so many bytes of the reply's body, or, below zero, with that error. */
export type Outcome = number;

export class DirectoryRequests {
  readonly #nodes: FileNodes;
  readonly #owner: Owner;
  readonly #body: Buffer;
  readonly #now: () => number;
  readonly #madeAtMs: number;
  readonly #changedAtMs = new WeakMap<BlockDevice, number>();
  readonly #writtenTo = new WeakSet<BlockDevice>();
  /** At most one for each name there has been. */
  readonly #opens = new Map<number, number>();

  /** `body`: where replies are put. `now`: milliseconds since 1970. */
  constructor(nodes: FileNodes, owner: Owner, body: Buffer, now: () => number) {
    this.#nodes = nodes;
    this.#owner = owner;
    this.#body = body;
    this.#now = now;
    this.#madeAtMs = now();
  }

  /** How often the file is open. */
  openFiles(name: string): number {
    const file = this.#nodes.find(name);
    return file === undefined ? 0 : (this.#opens.get(this.#nodes.nodeOf(file)) ?? 0);
  }

  /** The file's time of change is that of the next look at it, which spares the clock with every write. */
  wroteTo({ device }: FuseFile): void {
    this.#writtenTo.add(device);
  }

  lookup(node: number, request: Buffer, end: number): Outcome {
    if (node !== ROOT_NODE) return -Errno.ENOTDIR;
    const file = this.#nodes.find(decodeName(request, end));
    if (file === undefined) return -Errno.ENOENT;
    encodeEntry(this.#body, 0, this.#attributesOf(file), VALID_MS);
    return ENTRY_REPLY_BYTES;
  }

  getAttributes(node: number): Outcome {
    const attributes = this.#attributes(node);
    if (attributes === null) return -Errno.ESTALE;
    encodeAttributesReply(this.#body, 0, attributes, VALID_MS);
    return ATTRIBUTES_REPLY_BYTES;
  }

  /** Times are accepted and not kept. Everything else is what it is: a disk is not made larger by writing to its file. */
  setAttributes(node: number, request: Buffer): Outcome {
    const { valid, size, mode, uid, gid } = decodeSetAttributes(request);
    const attributes = this.#attributes(node);
    if (attributes === null) return -Errno.ESTALE;
    const changes =
      ((valid & SetAttributes.SIZE) !== 0 && size !== attributes.sizeBytes) ||
      ((valid & SetAttributes.MODE) !== 0 && (mode & PERMISSIONS) !== (attributes.mode & PERMISSIONS)) ||
      ((valid & SetAttributes.UID) !== 0 && uid !== attributes.uid) ||
      ((valid & SetAttributes.GID) !== 0 && gid !== attributes.gid);
    return changes ? -Errno.EPERM : this.getAttributes(node);
  }

  access(node: number, request: Buffer): Outcome {
    const attributes = this.#attributes(node);
    if (attributes === null) return -Errno.ESTALE;
    const wantsWrite = (decodeFirstWord(request) & AccessMask.WRITE) !== 0;
    if (wantsWrite && attributes.mode === READ_ONLY_FILE_MODE) {
      return -Errno.EROFS;
    }
    return 0;
  }

  /**
   * The kernel keeps none of the file's pages. Whoever reads through a filesystem on a loop device has them in that
   * filesystem's cache already, and a page kept here would not change when somebody writes to the volume over NBD.
   */
  open(node: number, request: Buffer): Outcome {
    const file = this.#nodes.fileOf(node);
    const reads = (decodeFirstWord(request) & OpenFlag.ACCESS_MODES) === OpenFlag.READ_ONLY;
    const { DIRECT_IO, PARALLEL_DIRECT_WRITES, NO_FLUSH } = OpenReplyFlag;
    if (node === ROOT_NODE) return -Errno.EISDIR;
    if (file === undefined) return -Errno.ESTALE;
    if ((file.closed ?? null) !== null) return -Errno.EBUSY;
    if (!reads && file.device.geometry.readOnly) return -Errno.EROFS;
    this.#opens.set(node, (this.#opens.get(node) ?? 0) + 1);
    encodeOpen(this.#body, 0, 0, DIRECT_IO | PARALLEL_DIRECT_WRITES | (reads ? NO_FLUSH : 0));
    return OPEN_REPLY_BYTES;
  }

  release(node: number): Outcome {
    const open = this.#opens.get(node) ?? 0;
    if (open > 0) this.#opens.set(node, open - 1);
    return 0;
  }

  openDirectory(node: number): Outcome {
    if (node !== ROOT_NODE) return -Errno.ENOTDIR;
    encodeOpen(this.#body, 0, 0, 0);
    return OPEN_REPLY_BYTES;
  }

  /** The entries from `offset` on, as many as fit. `plus`: each with what LOOKUP would say. */
  readDirectory(node: number, { offset, size }: TransferRequest, plus: boolean): Outcome {
    if (node !== ROOT_NODE) return -Errno.ENOTDIR;
    const body = this.#body;
    const files = this.#nodes.list();
    const room = Math.min(size, body.length);
    let at = 0;
    for (let index = offset; index < files.length + 2; index++) {
      // The first two are the directory itself and its parent, which the kernel knows better.
      const file = files[index - 2];
      const name = file?.name ?? (index === 0 ? '.' : '..');
      const nameBytes = Buffer.byteLength(name);
      const before = plus ? ENTRY_REPLY_BYTES : 0;
      const bytes = before + directoryEntryBytes(nameBytes);
      if (at + bytes > room) break;
      const attributes = file === undefined ? null : this.#attributesOf(file);
      if (plus) encodeEntry(body, at, attributes, VALID_MS);
      const entryNode = attributes?.node ?? ROOT_NODE;
      encodeDirectoryEntry(
        body,
        at + before,
        entryNode,
        index + 1,
        name,
        nameBytes,
        attributes?.mode ?? DIRECTORY_MODE,
      );
      at += bytes;
    }
    return at;
  }

  /** The volumes together, all of it in use. */
  totals(): Outcome {
    const files = this.#nodes.list();
    const sizeBytes = files.reduce((sum, { device }) => sum + device.geometry.sizeBytes, 0);
    encodeTotals(this.#body, 0, {
      blockSizeBytes: TOTALS_BLOCK_BYTES,
      blocks: Math.ceil(sizeBytes / TOTALS_BLOCK_BYTES),
      files: files.length + 1,
      nameBytesMax: NAME_BYTES_MAX,
    });
    return STATFS_REPLY_BYTES;
  }

  #attributes(node: number): Attributes | null {
    if (node === ROOT_NODE) {
      const { uid, gid } = this.#owner;
      return {
        node,
        sizeBytes: 0,
        blocks: 0,
        timeMs: this.#madeAtMs,
        mode: DIRECTORY_MODE,
        links: 2,
        uid,
        gid,
        blockSizeBytes: TOTALS_BLOCK_BYTES,
      };
    }
    const file = this.#nodes.fileOf(node);
    return file === undefined ? null : this.#attributesOf(file);
  }

  #attributesOf(file: FuseFile): Attributes {
    const { geometry } = file.device;
    return {
      node: this.#nodes.nodeOf(file),
      sizeBytes: geometry.sizeBytes,
      // What is stored is not known this quickly. One sector less than all of it makes cp and tar look for holes, and
      // nothing at all would have some of them take the whole file for one.
      blocks: Math.max(0, Math.floor(geometry.sizeBytes / SECTOR_BYTES) - 1),
      timeMs: this.#changedAt(file.device),
      mode: geometry.readOnly ? READ_ONLY_FILE_MODE : FILE_MODE,
      links: 1,
      uid: this.#owner.uid,
      gid: this.#owner.gid,
      blockSizeBytes: geometry.blockSizePreferredBytes,
    };
  }

  #changedAt(device: BlockDevice): number {
    if (this.#writtenTo.delete(device)) this.#changedAtMs.set(device, this.#now());
    return this.#changedAtMs.get(device) ?? this.#madeAtMs;
  }
}
