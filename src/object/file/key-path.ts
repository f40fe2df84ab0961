/**
 * How a key becomes a path below the store's directory, and back.
 *
 * A key is cut into pieces: a segment and the slash that ends it (a directory), the beginning of a segment too long for
 * one name (a directory with the suffix `+`), and what follows the last slash (a file with the suffix `=`). The suffixes
 * let the keys `a` and `a/b` live together. In a name every byte outside `a-z 0-9 _ - .`, and a leading dot, is written
 * `%xx`: so no name is special to the file system, upper and lower case stay apart on systems that fold them, and names
 * that begin with a dot are left for the store itself.
 */

/** Directories and the file of one object, each relative to the one before. */
export interface KeyPath {
  readonly directories: readonly string[];
  readonly file: string;
}

/** A directory entry as a listing sees it: the part of the key it stands for, its slash included. */
export interface KeyPiece {
  readonly text: string;
  readonly isObject: boolean;
}

const OBJECT_SUFFIX = '=';
const CONTINUED_SUFFIX = '+';
/** The directory of an empty segment: `%` alone is nothing a segment is ever written as. */
const EMPTY_SEGMENT = '%';

/**
 * A name of at least this many bytes is continued in a directory. With the escapes of one more character (4 bytes of
 * UTF-8, 12 of name) and a suffix it stays under the 255 bytes that file systems allow, and under the 143 of encrypted ones.
 */
const NAME_SPLIT_BYTES = 128;

export function keyToPath(key: string): KeyPath {
  const { directories, rest } = splitKey(key);
  return { directories: directories.map((piece) => piece.name), file: escapeName(rest) + OBJECT_SUFFIX };
}

export interface DirectoryPiece {
  readonly name: string;
  readonly text: string;
}

/** The directories that hold every key beginning with `prefix`, and what is left of it to compare names with. */
export function splitKey(prefix: string): { directories: DirectoryPiece[]; rest: string } {
  const directories: DirectoryPiece[] = [];
  let rest = prefix;
  for (;;) {
    const slash = rest.indexOf('/');
    const segment = slash === -1 ? rest : rest.slice(0, slash);
    const continued = continuedPart(segment);
    if (continued !== undefined) {
      directories.push({ name: escapeName(continued) + CONTINUED_SUFFIX, text: continued });
      rest = rest.slice(continued.length);
    } else if (slash !== -1) {
      directories.push({ name: escapeName(segment) || EMPTY_SEGMENT, text: `${segment}/` });
      rest = rest.slice(slash + 1);
    } else {
      return { directories, rest };
    }
  }
}

/** What a directory entry stands for, or undefined where it is none of ours. */
export function nameToPiece(name: string, isDirectory: boolean): KeyPiece | undefined {
  const piece = isDirectory ? directoryPiece(name) : objectPiece(name);
  // Only the one spelling that we write is ours: a key must not have two files.
  return piece !== undefined && canonicalName(piece) === name ? piece : undefined;
}

function objectPiece(name: string): KeyPiece | undefined {
  if (!name.endsWith(OBJECT_SUFFIX)) return undefined;
  const text = unescapeName(name.slice(0, -1));
  return text === undefined ? undefined : { text, isObject: true };
}

function directoryPiece(name: string): KeyPiece | undefined {
  if (name === EMPTY_SEGMENT) return { text: '/', isObject: false };
  if (name.endsWith(CONTINUED_SUFFIX)) {
    const text = unescapeName(name.slice(0, -1));
    return text === undefined ? undefined : { text, isObject: false };
  }
  const text = unescapeName(name);
  return text === undefined ? undefined : { text: `${text}/`, isObject: false };
}

function canonicalName(piece: KeyPiece): string | undefined {
  const { directories, rest } = splitKey(piece.text);
  if (piece.isObject) return directories.length === 0 ? escapeName(rest) + OBJECT_SUFFIX : undefined;
  return directories.length === 1 && rest === '' ? directories[0]?.name : undefined;
}

/**
 * The shortest beginning of the segment whose name is long enough to be continued, or undefined where it is not. As every
 * segment with this beginning is cut at the same place, nothing else in the directory begins with it, and the directory
 * takes one place in the order of keys.
 */
function continuedPart(segment: string): string | undefined {
  // One UTF-16 unit is at most three bytes, each written as three.
  if (segment.length * 9 < NAME_SPLIT_BYTES) return undefined;
  let bytes = 0;
  let length = 0;
  for (const character of segment) {
    bytes += escapeCharacter(character, length === 0).length;
    length += character.length;
    if (bytes >= NAME_SPLIT_BYTES) return segment.slice(0, length);
  }
  return undefined;
}

function escapeName(text: string): string {
  if (/^[a-z0-9_-][a-z0-9_.-]*$/.test(text)) return text;
  let name = '';
  for (const character of text) name += escapeCharacter(character, name === '');
  return name;
}

function escapeCharacter(character: string, leading: boolean): string {
  if (/^[a-z0-9_-]$/.test(character) || (character === '.' && !leading)) return character;
  let escaped = '';
  for (const byte of Buffer.from(character)) escaped += `%${byte.toString(16).padStart(2, '0')}`;
  return escaped;
}

function unescapeName(name: string): string | undefined {
  try {
    return decodeURIComponent(name);
  } catch {
    return undefined;
  }
}
