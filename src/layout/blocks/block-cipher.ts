/** s3backer's block encryption: key derivation, the IV of each block, and the HMAC over the ciphertext. */
import { createCipheriv, createDecipheriv, createHmac, getCipherInfo, pbkdf2Sync, timingSafeEqual } from 'node:crypto';
import { StorageError } from '../../lib/errors.ts';
import { hex8 } from './block-keys.ts';

/** Fixed by the format: PBKDF2-HMAC-SHA1 with this many rounds, for the key and again for the IV key. */
const PBKDF2_ROUNDS = 5000;

/** What the ciphers of the format must be: an IV of one block, PKCS#7 padding. */
const MODE = 'cbc';

export interface CipherSpec {
  /** The canonical upper-case OpenSSL name, `AES-128-CBC`: part of the HMAC and of the Content-Encoding. */
  readonly name: string;
  readonly keyLengthBytes: number;
  readonly blockLengthBytes: number;
}

/** Looks a cipher up by any spelling of its OpenSSL name; INVALID where it is unknown or not a CBC block cipher. */
export function findCipher(name: string): CipherSpec {
  const info = getCipherInfo(name.toLowerCase());
  // Names such as aes-128-cbc-hmac-sha1 are TLS record ciphers, of no use by themselves.
  const usable = info?.mode === MODE && info.ivLength === info.blockSize && !/hmac/i.test(info.name);
  if (!usable || info?.blockSize === undefined) {
    throw new StorageError(
      'INVALID',
      `cipher ${name} is not to be had: use a block cipher in CBC mode, such as AES-256-CBC`,
    );
  }
  // Not the spelling given: `aes128` is an alias, which s3backer would not find in an object's Content-Encoding.
  return { name: info.name.toUpperCase(), keyLengthBytes: info.keyLength, blockLengthBytes: info.blockSize };
}

export interface BlockCipherOptions {
  readonly cipher: string;
  readonly password: string;
  /** `<bucket>/<prefix>`, the prefix with its trailing slash; `<bucket>/` where the prefix is empty. */
  readonly salt: string;
  /** Bytes of key to derive; null: the cipher's own length. More than that only strengthens the HMAC. */
  readonly keyLengthBytes: number | null;
}

export class BlockCipher {
  readonly name: string;
  readonly keyLengthBytes: number;
  readonly #spec: CipherSpec;
  readonly #key: Buffer;
  readonly #ivKey: Buffer;

  /** Derives both keys, which takes some milliseconds. INVALID for a cipher or key length that cannot be. */
  constructor(options: BlockCipherOptions) {
    this.#spec = findCipher(options.cipher);
    this.name = this.#spec.name;
    this.keyLengthBytes = options.keyLengthBytes ?? this.#spec.keyLengthBytes;
    if (this.keyLengthBytes < this.#spec.keyLengthBytes) {
      throw new StorageError(
        'INVALID',
        `${this.name} needs a key of at least ${this.#spec.keyLengthBytes} bytes, not ${this.keyLengthBytes}`,
      );
    }
    this.#key = pbkdf2Sync(options.password, options.salt, PBKDF2_ROUNDS, this.keyLengthBytes, 'sha1');
    this.#ivKey = pbkdf2Sync(this.#key, this.#key, PBKDF2_ROUNDS, this.keyLengthBytes, 'sha1');
  }

  encrypt(block: number, plain: Buffer): { readonly ciphertext: Buffer; readonly hmac: string } {
    const cipher = createCipheriv(this.#spec.name, this.#naturalKey(this.#key), this.ivOf(block));
    const ciphertext = Buffer.concat([cipher.update(plain), cipher.final()]);
    return { ciphertext, hmac: this.hmacOf(block, ciphertext).toString('hex') };
  }

  /** Checks the HMAC, then decrypts. ACCESS_DENIED where the HMAC is another: a wrong password, or bytes tampered with. */
  decrypt(block: number, ciphertext: Buffer, hmac: string): Buffer {
    const given = Buffer.from(hmac, 'hex');
    const expected = this.hmacOf(block, ciphertext);
    if (given.length !== expected.length || !timingSafeEqual(given, expected)) {
      throw new StorageError(
        'ACCESS_DENIED',
        'the HMAC does not match: the password is another, or the object was changed',
      );
    }
    try {
      const decipher = createDecipheriv(this.#spec.name, this.#naturalKey(this.#key), this.ivOf(block));
      return Buffer.concat([decipher.update(ciphertext), decipher.final()]);
    } catch (cause) {
      throw new StorageError('CORRUPT', 'the object cannot be decrypted although its HMAC matches', { cause });
    }
  }

  /** One cipher block: the block number's 8 hex digits, NUL-padded, encrypted under the IV key with its own first bytes as IV. */
  ivOf(block: number): Buffer {
    const { name, blockLengthBytes } = this.#spec;
    const cipher = createCipheriv(name, this.#naturalKey(this.#ivKey), this.#ivKey.subarray(0, blockLengthBytes));
    cipher.setAutoPadding(false);
    const text = Buffer.alloc(blockLengthBytes);
    text.write(hex8(block), 'latin1');
    return cipher.update(text);
  }

  /** HMAC-SHA1 with the whole derived key over block number, cipher name and ciphertext. */
  hmacOf(block: number, ciphertext: Buffer): Buffer {
    return createHmac('sha1', this.#key).update(hex8(block)).update(this.name).update(ciphertext).digest();
  }

  /** A value that tells at open whether a password is the right one, without a block to try it on. */
  keyCheck(): string {
    return createHmac('sha1', this.#key).update('bucketdisk key check').digest('hex');
  }

  #naturalKey(key: Buffer): Buffer {
    return key.subarray(0, this.#spec.keyLengthBytes);
  }
}
