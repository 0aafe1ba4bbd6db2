import { readCsv } from './csv';
import { readJson } from './json';
import { readNpy } from './npy';
import { readSafetensors } from './safetensors';
import { type GivenTensor, mostBytes, Unreadable } from './tensor';

/** A tensor from what was pasted or typed: JSON, or rows of numbers. */
export function readText(text: string): GivenTensor {
  const trimmed = text.trim();
  if (trimmed === '') throw new Unreadable('paste a tensor, or drop a file, first');
  return trimmed.startsWith('{') || trimmed.startsWith('[') ? readJson(trimmed) : readCsv(trimmed);
}

/** A tensor from a file, by its content and not by its name alone. */
export async function readFile(file: File): Promise<GivenTensor> {
  if (file.size > mostBytes) throw new Unreadable(`the page takes files of ${mostBytes / 1024 / 1024} MB, this one has ${(file.size / 1024 / 1024).toFixed(1)}: send it by a program`);
  if (file.size === 0) throw new Unreadable('the file is empty');
  const bytes = await file.arrayBuffer();
  const head = new Uint8Array(bytes, 0, Math.min(9, bytes.byteLength));
  if (head[0] === 0x93 || /\.npy$/i.test(file.name)) return readNpy(bytes, file.name);
  if (/\.safetensors$/i.test(file.name) || (head.length === 9 && head[8] === 0x7b && head[7] === 0)) return readSafetensors(bytes, file.name);
  return readText(new TextDecoder().decode(bytes));
}
