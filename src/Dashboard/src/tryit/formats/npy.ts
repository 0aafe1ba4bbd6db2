import { checkedShape, type GivenTensor, readElements, sizeOf, Unreadable } from './tensor';

const types: Record<string, string> = { '<f8': 'F64', '<f4': 'F32', '<f2': 'F16' };

/** An array as numpy.save writes it. */
export function readNpy(bytes: ArrayBuffer, name: string): GivenTensor {
  const head = new Uint8Array(bytes);
  if (head.length < 10 || head[0] !== 0x93 || String.fromCharCode(...head.subarray(1, 6)) !== 'NUMPY') throw new Unreadable('this is no .npy file: it does not begin with \\x93NUMPY');
  const isLong = head[6]! >= 2;
  const start = isLong ? 12 : 10;
  if (head.length < start) throw new Unreadable('the file ends within its header');
  const length = isLong ? new DataView(bytes).getUint32(8, true) : new DataView(bytes).getUint16(8, true);
  if (start + length > head.length) throw new Unreadable('the file ends within its header');
  const header = new TextDecoder().decode(head.subarray(start, start + length));
  const descr = /'descr'\s*:\s*'([^']*)'/.exec(header)?.[1];
  const dimensions = /'shape'\s*:\s*\(([^)]*)\)/.exec(header)?.[1];
  const isFortran = /'fortran_order'\s*:\s*True/.test(header);
  if (descr === undefined || dimensions === undefined) throw new Unreadable(`the header says no descr or no shape: ${header.slice(0, 80)}`);
  const type = types[descr];
  if (type === undefined) throw new Unreadable(`elements must be one of ${Object.keys(types).join(', ')}, got '${descr}': save it with .astype('<f4')`);
  const shape = checkedShape(dimensions.split(',').map((part) => part.trim()).filter((part) => part !== '').map(Number));
  const elements = readElements(bytes, start + length, sizeOf(shape), type);
  return { shape, data: isFortran ? rowMajor(elements, shape) : elements, form: `.npy, ${descr}${isFortran ? ', Fortran order' : ''}`, file: { bytes, mediaType: 'application/x-npy', name } };
}

// In Fortran order the first index is the fastest.
function rowMajor(elements: Float64Array, shape: readonly number[]): Float64Array {
  const result = new Float64Array(elements.length);
  const index = shape.map(() => 0);
  for (const value of elements) {
    result[index.reduce((place, i, axis) => place * shape[axis]! + i, 0)] = value;
    for (let axis = 0; axis < shape.length; axis++) {
      index[axis]! += 1;
      if (index[axis]! < shape[axis]!) break;
      index[axis] = 0;
    }
  }
  return result;
}
