import { checkedShape, elements, type GivenTensor, readElements, sizeOf, Unreadable } from './tensor';

interface Entry {
  dtype: string;
  shape: unknown[];
  data_offsets: [number, number];
}

const isEntry = (value: unknown): value is Entry => {
  const entry = value as Partial<Entry> | null;
  return typeof entry === 'object' && entry !== null && typeof entry.dtype === 'string' && Array.isArray(entry.shape) && Array.isArray(entry.data_offsets) && entry.data_offsets.every((offset) => Number.isSafeInteger(offset) && offset >= 0);
};

/** The tensor named x of a safetensors file, or its only one. */
export function readSafetensors(bytes: ArrayBuffer, name: string): GivenTensor {
  if (bytes.byteLength < 8) throw new Unreadable('the file ends within the length of its header');
  const length = Number(new DataView(bytes).getBigUint64(0, true));
  if (length > bytes.byteLength - 8) throw new Unreadable(`the header should be ${length} bytes long, the file has ${bytes.byteLength}`);
  let header: Record<string, unknown>;
  try {
    header = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(new Uint8Array(bytes, 8, length))) as Record<string, unknown>;
  } catch {
    throw new Unreadable('the header is no JSON: this is no safetensors file');
  }
  const tensors = Object.keys(header).filter((key) => key !== '__metadata__');
  const chosen = 'x' in header ? 'x' : tensors.length === 1 ? tensors[0]! : null;
  if (chosen === null) throw new Unreadable(`the file must hold a tensor named x, or only one; it has ${tensors.slice(0, 8).join(', ') || 'none'}`);
  const entry = header[chosen];
  if (!isEntry(entry)) throw new Unreadable(`what the header says of ${chosen} cannot be read`);
  if (!(entry.dtype in elements)) throw new Unreadable(`elements must be F64, F32, F16 or BF16, got ${entry.dtype}`);
  const shape = checkedShape(entry.shape);
  const data = readElements(bytes, 8 + length + entry.data_offsets[0], sizeOf(shape), entry.dtype);
  const given: GivenTensor = { shape, data, form: `safetensors, ${chosen}, ${entry.dtype}` };
  // Under another name the service would not know it, and others beside it would be refused.
  if (chosen === 'x' && tensors.length === 1) given.file = { bytes, mediaType: 'application/x-safetensors', name };
  return given;
}
