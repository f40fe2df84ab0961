/** One block to one object body and back: compression, then encryption, told by the object's own Content-Encoding. */
import { promisify } from 'node:util';
import * as zlib from 'node:zlib';
import { describeError, isStorageError, StorageError } from '../../lib/errors.ts';
import type { ObjectData, ObjectHeaders } from '../../object/object-store.ts';
import type { BlockCipher } from './block-cipher.ts';

type Decompress = (body: Buffer, options: zlib.ZlibOptions & zlib.ZstdOptions) => Promise<unknown>;

/** Node's compressors. With the option `info` a decompressor returns `{ buffer, engine }`, which its types do not know. */
export interface Compression {
  readonly deflate: (body: Buffer, options: zlib.ZlibOptions) => Promise<Buffer>;
  readonly inflate: Decompress;
  readonly zstdCompress: (body: Buffer, options: zlib.ZstdOptions) => Promise<Buffer>;
  readonly zstdDecompress: Decompress;
}

const ON_THREADS: Compression = {
  deflate: promisify(zlib.deflate),
  inflate: promisify(zlib.inflate),
  zstdCompress: promisify(zlib.zstdCompress),
  zstdDecompress: promisify(zlib.zstdDecompress),
};

export const BLOCK_CONTENT_TYPE = 'application/x-s3backer-block';
const HMAC_METADATA = 's3backer-hmac';
const ENCRYPT = 'encrypt-';

export interface BlockCodecOptions {
  readonly blockSizeBytes: number;
  readonly compress: 'none' | 'deflate' | 'zstd';
  /** Null: the compressor's default. */
  readonly compressLevel: number | null;
  readonly cipher: BlockCipher | null;
  /** Where compressing is done; on Node's threads unless said. */
  readonly compression?: Compression;
}

export interface EncodedBlock {
  readonly body: Buffer;
  readonly headers: ObjectHeaders;
}

/**
 * Encodes as configured, decodes as each object says: a volume may hold blocks of several encodings. A body that has to be
 * encrypted is always compressed first, as s3backer does.
 */
export class BlockCodec {
  readonly #options: BlockCodecOptions;
  readonly #compress: 'none' | 'deflate' | 'zstd';
  readonly #compression: Compression;

  constructor(options: BlockCodecOptions) {
    this.#options = options;
    this.#compression = options.compression ?? ON_THREADS;
    this.#compress = options.cipher !== null && options.compress === 'none' ? 'deflate' : options.compress;
  }

  /** Whether what is written is the block's own bytes, so that a part of an object is that part of the block. */
  get writesPlain(): boolean {
    return this.#compress === 'none';
  }

  /** `metadata` is added to the object's headers. `data` is one whole block and is not changed. */
  async encode(block: number, data: Buffer, metadata: Readonly<Record<string, string>> = {}): Promise<EncodedBlock> {
    const encodings: string[] = [];
    const allMetadata: Record<string, string> = { ...metadata };
    let body = data;
    if (this.#compress === 'deflate') {
      body = await this.#compression.deflate(body, {
        level: this.#options.compressLevel ?? zlib.constants.Z_DEFAULT_COMPRESSION,
      });
      encodings.push('deflate');
    } else if (this.#compress === 'zstd') {
      const level = this.#options.compressLevel ?? zlib.constants.ZSTD_CLEVEL_DEFAULT;
      // The frame's own checksum costs nothing next to the rest, and every zstd decoder checks it.
      const params = { [zlib.constants.ZSTD_c_compressionLevel]: level, [zlib.constants.ZSTD_c_checksumFlag]: 1 };
      body = await this.#compression.zstdCompress(body, { params, pledgedSrcSize: body.length });
      encodings.push('zstd');
    }
    if (this.#options.cipher !== null) {
      const { ciphertext, hmac } = this.#options.cipher.encrypt(block, body);
      body = ciphertext;
      encodings.push(ENCRYPT + this.#options.cipher.name);
      // The quotes are part of the value on the wire, as s3backer writes it.
      allMetadata[HMAC_METADATA] = `"${hmac}"`;
    }
    return {
      body,
      headers: {
        contentType: BLOCK_CONTENT_TYPE,
        ...(encodings.length > 0 ? { contentEncoding: encodings.join(', ') } : {}),
        metadata: allMetadata,
      },
    };
  }

  /**
   * The block's bytes. CORRUPT where the body is not a whole block in the encoding it names; ACCESS_DENIED where it is
   * encrypted and the password is missing or wrong, or plain where everything is to be encrypted.
   */
  async decode(block: number, object: ObjectData): Promise<Buffer> {
    try {
      return await this.#decode(block, object);
    } catch (error) {
      const code = isStorageError(error) ? error.code : 'CORRUPT';
      throw new StorageError(code, `block object ${object.key}: ${describeError(error)}`, { cause: error });
    }
  }

  async #decode(block: number, object: ObjectData): Promise<Buffer> {
    const { blockSizeBytes, cipher } = this.#options;
    const encodings = parseContentEncoding(object.contentEncoding);
    let body = object.body;
    if (cipher !== null && !encodings.some((name) => name.startsWith(ENCRYPT))) {
      throw new StorageError('ACCESS_DENIED', 'the object is not encrypted although the volume is');
    }
    for (const encoding of encodings.toReversed()) {
      if (encoding.startsWith(ENCRYPT)) body = this.#decrypt(block, encoding.slice(ENCRYPT.length), body, object);
      else if (encoding === 'deflate') body = await this.#decompress(this.#compression.inflate, body);
      else if (encoding === 'zstd') body = await this.#decompress(this.#compression.zstdDecompress, body);
      else throw new StorageError('CORRUPT', `unknown content encoding "${encoding}"`);
    }
    if (body.length !== blockSizeBytes) {
      throw new StorageError('CORRUPT', `${body.length} bytes where the block has ${blockSizeBytes}`);
    }
    return body;
  }

  /** Never more than a block, whatever the body would grow to. Node passes over what follows the compressed data. */
  async #decompress(decompress: Decompress, body: Buffer): Promise<Buffer> {
    const result: unknown = await decompress(body, { maxOutputLength: this.#options.blockSizeBytes, info: true });
    const { buffer, engine } = result as {
      readonly buffer: Buffer;
      readonly engine: { readonly bytesWritten: number };
    };
    const excess = body.length - engine.bytesWritten;
    if (excess !== 0) throw new StorageError('CORRUPT', `${excess} bytes follow the end of the compressed data`);
    return buffer;
  }

  #decrypt(block: number, cipherName: string, body: Buffer, object: ObjectData): Buffer {
    const { cipher } = this.#options;
    if (cipher === null) {
      throw new StorageError(
        'ACCESS_DENIED',
        `the object is encrypted with ${cipherName}: set the volume's encrypt and password`,
      );
    }
    if (cipherName.toUpperCase() !== cipher.name) {
      throw new StorageError(
        'ACCESS_DENIED',
        `the object is encrypted with ${cipherName}, the volume with ${cipher.name}`,
      );
    }
    const hmac = object.metadata[HMAC_METADATA];
    if (hmac === undefined) throw new StorageError('CORRUPT', 'the object is encrypted but carries no HMAC');
    return cipher.decrypt(block, body, hmac.replaceAll('"', ''));
  }
}

/** The encodings in the order applied. */
export function parseContentEncoding(header: string | undefined): string[] {
  return (header ?? '')
    .split(',')
    .map((name) => name.trim())
    .filter((name) => name !== '' && name !== 'identity');
}
