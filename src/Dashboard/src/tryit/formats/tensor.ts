/** A tensor as it was given: its elements in row-major order, and the bytes to send where they are those of a file that the service reads as it is. */
export interface GivenTensor {
  shape: number[];
  data: ArrayLike<number>;
  /** How it was given, for people. */
  form: string;
  file?: { bytes: ArrayBuffer; mediaType: string; name: string };
}

/** What cannot be read, and why. */
export class Unreadable extends Error {}

export const sizeOf = (shape: readonly number[]): number => shape.reduce((size, dimension) => size * dimension, 1);

/** The largest file that the page takes in: it draws from what it has read. */
export const mostBytes = 64 * 1024 * 1024;

/** 16 bits of IEEE 754 as a number. */
export function half(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 31;
  const fraction = bits & 1023;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  if (exponent === 31) return fraction ? NaN : sign * Infinity;
  return sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
}

type Reader = (view: DataView, offset: number) => number;

/** The element types of binary files, by the names that safetensors has for them. */
export const elements: Record<string, { size: number; read: Reader }> = {
  F64: { size: 8, read: (view, offset) => view.getFloat64(offset, true) },
  F32: { size: 4, read: (view, offset) => view.getFloat32(offset, true) },
  F16: { size: 2, read: (view, offset) => half(view.getUint16(offset, true)) },
  BF16: {
    size: 2,
    read: (view, offset) => {
      const word = new DataView(new ArrayBuffer(4));
      word.setUint16(2, view.getUint16(offset, true), true);
      return word.getFloat32(0, true);
    },
  },
};

/** So many elements of a type, from a place in a file. */
export function readElements(buffer: ArrayBuffer, offset: number, length: number, type: string): Float64Array {
  const { size, read } = elements[type]!;
  if (offset + length * size > buffer.byteLength) throw new Unreadable(`the file ends too early: ${length} elements of ${type} need ${length * size} bytes, ${Math.max(buffer.byteLength - offset, 0)} are there`);
  const view = new DataView(buffer);
  return Float64Array.from({ length }, (_, i) => read(view, offset + i * size));
}

/** Dimensions as a file writes them. */
export function checkedShape(shape: readonly unknown[]): number[] {
  if (!shape.every((dimension): dimension is number => typeof dimension === 'number' && Number.isInteger(dimension) && dimension >= 0)) throw new Unreadable(`the shape [${shape.join(', ')}] has something other than whole numbers`);
  return [...shape];
}
