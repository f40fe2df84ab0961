/** One mount's conversation with the kernel, without the device: fed one request at a time, it has the replies sent. */
import type { Clock } from '../lib/clock.ts';
import { describeError } from '../lib/errors.ts';
import type { Log } from '../lib/log.ts';
import { Errno, InitFlag, MAJOR_VERSION, MINOR_VERSION, Opcode } from './constants.ts';
import { DirectoryRequests, type Outcome, type Owner } from './directory-requests.ts';
import { FileRequests } from './file-requests.ts';
import { FileNodes, type FileTable } from './files.ts';
import type { FuseLimits } from './limits.ts';
import type { ReceiveBuffers } from './receive-buffers.ts';
import { Replier, type ReplySink } from './replier.ts';
import { WaitingRequests } from './waiting-requests.ts';
import {
  bodyBytesMin,
  decodeFirstNumber,
  decodeHeader,
  decodeInit,
  decodeTransfer,
  encodeInit,
  INIT_REPLY_BYTES,
  REQUEST_HEADER_BYTES,
  RequestHeader,
  TRANSFER_BYTES_MAX,
  TransferRequest,
  WRITE_HEADER_BYTES,
} from './wire.ts';

const PAGES_MAX = 256;
/** What a buffer must hold so that any request fits: the kernel fails those that do not. */
export const RECEIVE_BYTES = WRITE_HEADER_BYTES + TRANSFER_BYTES_MAX + 4096;

const WANTED_FLAGS =
  InitFlag.ASYNC_READ |
  InitFlag.BIG_WRITES |
  InitFlag.DO_READDIRPLUS |
  InitFlag.READDIRPLUS_AUTO |
  InitFlag.ASYNC_DIO |
  InitFlag.PARALLEL_DIROPS |
  InitFlag.MAX_PAGES;

/** What is asked of a file's bytes. */
const DEVICE_OPCODES: ReadonlySet<number> = new Set([
  Opcode.READ,
  Opcode.WRITE,
  Opcode.FLUSH,
  Opcode.FSYNC,
  Opcode.FALLOCATE,
  Opcode.LSEEK,
]);

export interface SessionOptions {
  readonly files: FileTable;
  readonly owner: Owner;
  readonly limits: FuseLimits;
  readonly replies: ReplySink;
  /** Requests are fed in its current buffer; a slow write keeps that, and there is another. */
  readonly buffers: ReceiveBuffers;
  readonly clock: Clock;
  /** Called once the kernel and we have agreed on how to speak; with an error whenever it asks for what we cannot. */
  readonly onNegotiated: (error: Error | null) => void;
  /** Called when a request completes outside `receive`: there may be room again. */
  readonly onProgress: () => void;
  readonly log: Log;
}

export class Session {
  readonly #options: SessionOptions;
  readonly #replier: Replier;
  readonly #nodes: FileNodes;
  readonly #directory: DirectoryRequests;
  readonly #fileRequests: FileRequests;
  /** Never while devices may have more to do. */
  readonly #waiting = new WaitingRequests();
  readonly #header = new RequestHeader();
  readonly #transfer = new TransferRequest();
  #negotiated = false;
  #shutdown = false;
  #requests = 0;

  constructor(options: SessionOptions) {
    this.#options = options;
    const { files, owner, replies, buffers, limits, clock, log } = options;
    const onProgress = (): void => {
      this.#takeWaiting();
      options.onProgress();
    };
    this.#replier = new Replier(replies);
    this.#nodes = new FileNodes(files);
    this.#directory = new DirectoryRequests(this.#nodes, owner, this.#replier.body, () => clock.date().getTime());
    this.#fileRequests = new FileRequests({ replier: this.#replier, buffers, limits, clock, onProgress, log });
  }

  /** Requests that came, whatever became of them. */
  get requests(): number {
    return this.#requests;
  }

  /** Requests that devices have not answered, or not been asked yet. */
  get inFlight(): number {
    return this.#fileRequests.inFlight + this.#waiting.count;
  }

  get bytesInFlight(): number {
    return this.#fileRequests.bytesInFlight + this.#waiting.bytes;
  }

  /** How often the file is open. */
  openFiles(name: string): number {
    return this.#directory.openFiles(name);
  }

  /** What has been asked of each file's bytes. */
  counters(): ReturnType<FileNodes['snapshot']> {
    return this.#nodes.snapshot();
  }

  /** True while no further request should be fed. */
  get full(): boolean {
    return this.#waiting.bytes >= this.#options.limits.waitingBytesMax;
  }

  /** What is asked of a file from now on, or waits, is answered with EIO; what is under way completes. */
  shutdown(): void {
    this.#shutdown = true;
    this.#takeWaiting();
  }

  /** Takes one request: the first `length` bytes of the current receive buffer. */
  receive(request: Buffer, length: number): void {
    this.#requests++;
    this.#take(request, length);
  }

  #take(request: Buffer, length: number): void {
    if (length < REQUEST_HEADER_BYTES) {
      this.#options.log.error('a request without a header', { length });
      return;
    }
    const header = this.#header;
    decodeHeader(request, header);
    const { uniqueLow, uniqueHigh, opcode } = header;
    try {
      if (header.length !== length || length < REQUEST_HEADER_BYTES + bodyBytesMin(opcode)) {
        this.#options.log.error('a request of the wrong length', { opcode, length, announced: header.length });
        this.#replier.fail(uniqueLow, uniqueHigh, Errno.EINVAL);
      } else if ((opcode === Opcode.INIT) === this.#negotiated) {
        this.#replier.fail(uniqueLow, uniqueHigh, Errno.EPROTO);
      } else if (opcode === Opcode.INIT) this.#init(request);
      else this.#dispatch(request, length);
    } catch (error) {
      // A mistake of ours, or of what we were given to serve, costs this request and no other.
      this.#options.log.error('a request failed unexpectedly', { opcode, error: describeError(error) });
      this.#replier.fail(uniqueLow, uniqueHigh, Errno.EIO);
    }
  }

  #init(request: Buffer): void {
    const { uniqueLow, uniqueHigh } = this.#header;
    const { major, minor, readAheadBytesMax, flags } = decodeInit(request);
    // A kernel of a later major version asks again in ours, once it has seen ours in the reply.
    const accepted = major > MAJOR_VERSION || (major === MAJOR_VERSION && minor >= MINOR_VERSION);
    if (!accepted) {
      this.#replier.fail(uniqueLow, uniqueHigh, Errno.EPROTO);
      const spoken = `${major}.${minor}, and ${MAJOR_VERSION}.${MINOR_VERSION} (Linux 5.4) or later is needed`;
      this.#options.onNegotiated(new Error(`the kernel speaks FUSE ${spoken}`));
      return;
    }
    const { kernelBackgroundMax } = this.#options.limits;
    encodeInit(this.#replier.body, 0, {
      readAheadBytesMax,
      flags: flags & WANTED_FLAGS,
      backgroundMax: kernelBackgroundMax,
      congestionThreshold: Math.floor(kernelBackgroundMax * 0.75),
      writeBytesMax: TRANSFER_BYTES_MAX,
      pagesMax: PAGES_MAX,
    });
    this.#replier.succeed(uniqueLow, uniqueHigh, INIT_REPLY_BYTES);
    if (major !== MAJOR_VERSION) return;
    this.#negotiated = true;
    this.#options.log.debug('the kernel speaks FUSE', { version: `${major}.${minor}`, flags: flags & WANTED_FLAGS });
    this.#options.onNegotiated(null);
  }

  #dispatch(request: Buffer, length: number): void {
    const { uniqueLow, uniqueHigh, opcode } = this.#header;
    if (DEVICE_OPCODES.has(opcode)) {
      if (this.#mayAsk) this.#onFile(request, length);
      else this.#waiting.add(uniqueHigh * 2 ** 32 + uniqueLow, request.subarray(0, length));
    } else if (opcode === Opcode.INTERRUPT) this.#interrupt(decodeFirstNumber(request));
    else if (opcode !== Opcode.FORGET && opcode !== Opcode.BATCH_FORGET) {
      // Those two have no reply, and nothing is counted that they could take back.
      const outcome = this.#onDirectory(request, length);
      if (outcome < 0) this.#replier.fail(uniqueLow, uniqueHigh, -outcome as Errno);
      else this.#replier.succeed(uniqueLow, uniqueHigh, outcome);
    }
  }

  /** Whether what is asked of a file may be asked of its device. */
  get #mayAsk(): boolean {
    return this.#shutdown || !this.#fileRequests.full;
  }

  #takeWaiting(): void {
    while (this.#mayAsk) {
      const request = this.#waiting.take();
      if (request === undefined) return;
      this.#take(request, request.length);
    }
  }

  /** As of FileRequests, also of a request of any kind that waits: of that nothing has been done. */
  #interrupt(unique: number): void {
    if (!this.#waiting.has(unique)) {
      this.#fileRequests.interrupt(unique);
      return;
    }
    const { clock, limits } = this.#options;
    void clock.sleep(limits.interruptGraceMs).then(() => {
      const request = this.#waiting.remove(unique);
      if (request === undefined) {
        this.#fileRequests.interrupt(unique);
        return;
      }
      decodeHeader(request, this.#header);
      this.#replier.fail(this.#header.uniqueLow, this.#header.uniqueHigh, Errno.EINTR);
      this.#options.onProgress();
    });
  }

  #onDirectory(request: Buffer, length: number): Outcome {
    const { opcode, node } = this.#header;
    const directory = this.#directory;
    switch (opcode) {
      case Opcode.LOOKUP:
        return directory.lookup(node, request, length);
      case Opcode.GETATTR:
        return directory.getAttributes(node);
      case Opcode.SETATTR:
        return directory.setAttributes(node, request);
      case Opcode.ACCESS:
        return directory.access(node, request);
      case Opcode.OPEN:
        return directory.open(node, request);
      case Opcode.OPENDIR:
        return directory.openDirectory(node);
      case Opcode.READDIR:
      case Opcode.READDIRPLUS:
        decodeTransfer(request, this.#transfer);
        return directory.readDirectory(node, this.#transfer, opcode === Opcode.READDIRPLUS);
      case Opcode.STATFS:
        return directory.totals();
      case Opcode.RELEASE:
        return directory.release(node);
      case Opcode.RELEASEDIR:
      case Opcode.FSYNCDIR:
      case Opcode.DESTROY:
        return 0;
      case Opcode.CREATE:
      case Opcode.MKNOD:
      case Opcode.MKDIR:
      case Opcode.SYMLINK:
      case Opcode.LINK:
      case Opcode.UNLINK:
      case Opcode.RMDIR:
      case Opcode.RENAME:
      case Opcode.RENAME2:
        // The directory is what is configured.
        return -Errno.EPERM;
      default:
        // The kernel does not ask again, and does without.
        return -Errno.ENOSYS;
    }
  }

  #onFile(request: Buffer, length: number): void {
    const header = this.#header;
    const { uniqueLow, uniqueHigh, opcode, node } = header;
    const file = this.#nodes.fileOf(node);
    if (file === undefined || this.#shutdown) {
      this.#replier.fail(uniqueLow, uniqueHigh, file === undefined ? Errno.ESTALE : Errno.EIO);
      return;
    }
    if (opcode === Opcode.READ || opcode === Opcode.WRITE) decodeTransfer(request, this.#transfer);
    if (opcode === Opcode.WRITE || opcode === Opcode.FALLOCATE) this.#directory.wroteTo(file);
    const stats = this.#nodes.statsOf(node);
    if (opcode === Opcode.READ) this.#fileRequests.read(header, this.#transfer, file, stats);
    else if (opcode === Opcode.WRITE) this.#fileRequests.write(header, this.#transfer, file, stats, request, length);
    else if (opcode === Opcode.FALLOCATE) this.#fileRequests.fallocate(header, file, stats, request);
    else if (opcode === Opcode.LSEEK) this.#fileRequests.seek(header, file, stats, request);
    else this.#fileRequests.flush(header, file, stats);
  }
}
