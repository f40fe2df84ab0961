/** Compression in the caller's turn: on threads its order would be another one each time. */
import * as zlib from 'node:zlib';
import type { Compression } from '../../src/layout/blocks/block-codec.ts';

export const syncCompression: Compression = {
  deflate: async (body, options) => zlib.deflateSync(body, options),
  inflate: async (body, options) => zlib.inflateSync(body, options),
  zstdCompress: async (body, options) => zlib.zstdCompressSync(body, options),
  zstdDecompress: async (body, options) => zlib.zstdDecompressSync(body, options),
};
