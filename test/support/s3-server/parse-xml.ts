/** A strict reader for the XML bodies that clients send. */
import { S3Error } from './errors.ts';

export interface XmlElement {
  readonly name: string;
  readonly children: readonly XmlElement[];
  /** The element's own character data, entities decoded. */
  readonly text: string;
}

const ENTITIES: Readonly<Record<string, string>> = { amp: '&', lt: '<', gt: '>', quot: '"', apos: "'" };

function malformed(): S3Error {
  return new S3Error('MalformedXML', 'The XML you provided was not well-formed or did not validate');
}

function decodeEntities(text: string): string {
  return text.replace(/&([^;]*);?/g, (whole, name: string) => {
    const numeric = /^#(?:x([0-9a-fA-F]+)|([0-9]+))$/.exec(name);
    const code = numeric === null ? undefined : Number.parseInt(numeric[1] ?? numeric[2] ?? '', numeric[1] ? 16 : 10);
    const decoded = code === undefined ? ENTITIES[name] : code <= 0x10ffff ? String.fromCodePoint(code) : undefined;
    if (decoded === undefined || !whole.endsWith(';')) throw malformed();
    return decoded;
  });
}

/** Reads a document of nested elements; throws MalformedXML for anything else, DTDs and mixed content included. */
export function parseXml(source: string): XmlElement {
  const text = source.replace(/^\uFEFF?\s*<\?xml[^>]*\?>/, '').replace(/<!--[\s\S]*?-->/g, '');
  const tag = /<(\/?)([A-Za-z_][\w.-]*)((?:\s+[\w:.-]+\s*=\s*(?:"[^"<]*"|'[^'<]*'))*)\s*(\/?)>/g;
  type Open = { name: string; children: XmlElement[]; text: string };
  const top: Open = { name: '', children: [], text: '' };
  const stack: Open[] = [top];
  let at = 0;
  for (let match = tag.exec(text); match !== null; match = tag.exec(text)) {
    const current = stack.at(-1) as Open;
    const between = text.slice(at, match.index);
    if (between.includes('<')) throw malformed();
    current.text += decodeEntities(between);
    at = tag.lastIndex;
    const [, closing, name, , selfClosing] = match;
    if (name === undefined) throw malformed();
    if (closing !== '/') {
      const opened: Open = { name, children: [], text: '' };
      current.children.push(opened);
      if (selfClosing !== '/') stack.push(opened);
    } else {
      if (current.name !== name || stack.length === 1) throw malformed();
      if (current.children.length > 0 && current.text.trim() !== '') throw malformed();
      stack.pop();
    }
  }
  const root = top.children[0];
  if (stack.length !== 1 || root === undefined || top.children.length !== 1) throw malformed();
  if (text.slice(at).trim() !== '' || top.text.trim() !== '') throw malformed();
  return root;
}
