/** Users and their keys, in the file format of GnuTLS's psktool: a line `user:hexkey` for each. */
import { StorageError } from '../../lib/errors.ts';

/** User names are as unlike a key as can be: what is not in this map has no key. */
export type PskKeys = ReadonlyMap<string, Buffer>;

/** A weaker key could be guessed by whoever has seen a handshake. */
const KEY_BYTES_MIN = 16;
/** What OpenSSL takes (PSK_MAX_PSK_LEN, less a margin that older versions need). */
const KEY_BYTES_MAX = 256;
const USER_BYTES_MAX = 128;
/** The user may be given in hex, for names that have a colon in them. */
const HEX_USER = /^#((?:[0-9a-f]{2})+)$/i;

/**
 * Empty lines and those that begin with `#` and are no user in hex are passed over. Throws INVALID for anything else that is no
 * user and key, with the line's number and never its text.
 */
export function parsePskFile(text: string, path: string): PskKeys {
  const keys = new Map<string, Buffer>();
  text.split('\n').forEach((line, index) => {
    const entry = line.replace(/\r$/, '');
    const colon = entry.lastIndexOf(':');
    const name = entry.slice(0, Math.max(0, colon));
    const hexUser = HEX_USER.exec(name)?.[1];
    if (entry === '' || (entry.startsWith('#') && hexUser === undefined)) return;
    const fail = (what: string): never => {
      throw new StorageError('INVALID', `${path}, line ${index + 1}: ${what}`);
    };
    if (colon < 0) fail('expected user:hexkey, as psktool writes it');
    const user = hexUser === undefined ? name : Buffer.from(hexUser, 'hex').toString('utf8');
    if (user === '') fail('the user has no name');
    // Node shows a server no name that is not the same again in UTF-8.
    if (/\p{Cc}|\ufffd/u.test(user)) fail("the user's name has characters that it may not have");
    if (Buffer.byteLength(user) > USER_BYTES_MAX) fail(`the user's name is longer than ${USER_BYTES_MAX} bytes`);
    if (keys.has(user)) fail('the user is in the file already');
    const hex = entry.slice(colon + 1);
    if (!/^(?:[0-9a-f]{2})*$/i.test(hex)) fail('the key is not in hex');
    const key = Buffer.from(hex, 'hex');
    if (key.length < KEY_BYTES_MIN || key.length > KEY_BYTES_MAX) {
      fail(`the key has ${key.length} bytes: expected ${KEY_BYTES_MIN} to ${KEY_BYTES_MAX}`);
    }
    keys.set(user, key);
  });
  if (keys.size === 0) throw new StorageError('INVALID', `${path} has no user in it`);
  return keys;
}
