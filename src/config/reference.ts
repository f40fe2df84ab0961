/** The reference of all settings, made from the schema: docs/CONFIGURATION.md. */
import { variableName } from './environment.ts';
import { type Field, fieldsOf, ROOT_SCHEMA, VOLUME_SCHEMA } from './schema.ts';

/** The whole page, in Markdown. A test holds the file in docs/ against it. */
export function configurationReference(): string {
  const parts = [INTRODUCTION];
  let section = '';
  for (const [path, field] of fieldsOf(ROOT_SCHEMA)) {
    const [name = ''] = path.split('.');
    if (name !== section) parts.push(`## ${name}`);
    section = name;
    parts.push(entry(path, variableName(path), field));
  }
  parts.push('## volumes', VOLUMES);
  for (const [key, field] of fieldsOf(VOLUME_SCHEMA)) {
    parts.push(entry(`volumes.NAME.${key}`, variableName(`volumes.NAME.${key}`), field));
  }
  return `${parts.join('\n\n')}\n`;
}

function entry(path: string, variable: string, field: Field<unknown>): string {
  const kind = field.nullable ? `${field.kind.name}, or \`null\`` : field.kind.name;
  const lines = [
    `### \`${path}\``,
    '',
    field.doc,
    '',
    `- ${kind}; default \`${JSON.stringify(field.default)}\``,
    `- environment: \`${variable}\``,
  ];
  if (field.sensitive) lines.push(`- or a file that holds it: \`${path}File\`, \`${variable}_FILE\``);
  return lines.join('\n');
}

const INTRODUCTION = `# Configuration

<!-- Generated from src/config/schema.ts by \`node src/config/write-reference.ts\`. Do not edit. -->

A configuration is put together from layers. A later one wins, setting by setting:

1. the defaults below;
2. \`config/default.json5\` of the package: a local directory as the bucket, and a volume \`demo\` to try things out with.
   The volume is left out as soon as any other layer names a volume of its own;
3. files in JSON5: those of \`BUCKETDISK_CONFIG\` (separated by \`:\`), then those of \`--config\`, in order;
4. the environment. An empty variable counts as not set;
5. flags: \`--set path=value\`, in order, then \`--log-level\`.

\`\`\`json5
{
  store: { url: 's3://my-bucket/disks', region: 'eu-central-1' },
  nbd: { socket: '/run/bucketdisk/nbd.sock' },
  volumes: {
    media: { size: '1TiB', compress: 'zstd' },
    private: { size: '100GiB', encrypt: true, passwordFile: '/run/secrets/private-password' },
  },
}
\`\`\`

\`bucketdisk config show --sources\` tells what is set, and by whom. \`bucketdisk config validate\` tells every error at once
and exits 2 where there is one.

- **Sizes** are \`512KiB\`, \`10GiB\`, \`1TiB\`; **durations** \`500ms\`, \`30s\`, \`5m\`; **rates** \`10MiB/s\`. Whole numbers only, and
  none without its unit but \`0\`. In the environment and in flags, \`null\` stands for no value where there may be none, and lists are separated by commas.
- **Unknown settings are errors**, and so are unknown variables that begin with \`BUCKETDISK_\` - other than those that
  Kubernetes and Docker make for a service of that name, such as \`BUCKETDISK_SERVICE_HOST\`.
- **Secrets** can be given in a file of their own: \`xFile\` in a configuration file or flag, \`X_FILE\` in the environment. One line
  end after the secret is dropped. They are masked wherever they are printed, and have no place in a url.
- **Relative paths**, those of \`file:\` urls too, are taken from the current directory of the process.`;

const VOLUMES = `Names are 1 to 63 of \`a-z\`, \`0-9\` and \`-\`, not beginning with \`-\`. The name is the NBD export. \`BUCKETDISK_VOLUMES\` takes an
object in JSON5, such as \`{ media: { size: "1TiB" } }\`. A variable of one setting works for volumes that are configured:
\`BUCKETDISK_VOLUMES_MY_DISK_PASSWORD_FILE\` is that of \`my-disk\`. Two volumes cannot have the same place in a bucket.

Encryption implies compression, as in s3backer: without \`compress\` an encrypted volume uses \`deflate\`, and
\`compress: "none"\` is an error there.`;
