import { type GivenTensor, Unreadable } from './tensor';

/** Rows of numbers, separated by commas, semicolons, tabs or blanks; a first line that is not all numbers is a header. */
export function readCsv(text: string): GivenTensor {
  const lines = text.replace(/^\uFEFF/, '').split(/\r?\n/).filter((line) => line.trim() !== '');
  if (lines.length === 0) throw new Unreadable('there are no lines');
  const separator = [',', ';', '\t'].find((candidate) => lines.some((line) => line.includes(candidate))) ?? /\s+/;
  const rows = lines.map((line) => line.trim().split(separator).map((cell) => cell.trim().replace(/^"(.*)"$/, '$1')));
  const hasHeader = rows[0]!.some((cell) => cell === '' || !isNumber(cell));
  const body = hasHeader ? rows.slice(1) : rows;
  if (body.length === 0) throw new Unreadable('there is a header, and no row below it');
  const width = body[0]!.length;
  const data: number[] = [];
  body.forEach((row, i) => {
    const line = i + (hasHeader ? 2 : 1);
    if (row.length !== width) throw new Unreadable(`line ${line} has ${row.length} columns, the first row has ${width}`);
    row.forEach((cell, column) => {
      if (!isNumber(cell)) throw new Unreadable(`line ${line}, column ${column + 1}: '${cell.slice(0, 40)}' is no number`);
      data.push(valueOf(cell));
    });
  });
  return { shape: [body.length, width], data, form: hasHeader ? 'CSV with a header' : 'CSV' };
}

const special = /^([+-]?)(nan|inf|infinity)$/i;
const isNumber = (cell: string): boolean => cell !== '' && (special.test(cell) || Number.isFinite(Number(cell)));

function valueOf(cell: string): number {
  const match = special.exec(cell);
  if (!match) return Number(cell);
  return match[2]!.toLowerCase() === 'nan' ? NaN : match[1] === '-' ? -Infinity : Infinity;
}
