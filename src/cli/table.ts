/** Columns that line up. */

/** A line for each row, cells two spaces apart, without blanks at the ends of lines. */
export function formatTable(rows: readonly (readonly string[])[]): string {
  const widths: number[] = [];
  for (const row of rows) {
    row.forEach((cell, column) => {
      widths[column] = Math.max(widths[column] ?? 0, cell.length);
    });
  }
  const lines = rows.map((row) =>
    row
      .map((cell, column) => cell.padEnd(widths[column] ?? 0))
      .join('  ')
      .trimEnd(),
  );
  return lines.map((line) => `${line}\n`).join('');
}

/** The lines of as many of the first columns as fit into the width, at least one. */
export function fitTable(rows: readonly (readonly string[])[], width: number): string[] {
  const lines = formatTable(rows).trimEnd().split('\n');
  const columns = Math.max(...rows.map(({ length }) => length));
  if (columns <= 1 || lines.every(({ length }) => length <= width)) return lines;
  return fitTable(
    rows.map((row) => row.slice(0, columns - 1)),
    width,
  );
}
