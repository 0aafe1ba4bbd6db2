import { checkedShape, type GivenTensor, sizeOf, Unreadable } from './tensor';

const names: Record<string, number> = { NaN: NaN, Infinity: Infinity, '-Infinity': -Infinity };

function element(value: unknown): number {
  if (typeof value === 'number') return value;
  if (typeof value === 'string' && value in names) return names[value]!;
  throw new Unreadable(`an element must be a number, "NaN", "Infinity" or "-Infinity", got ${JSON.stringify(value).slice(0, 40)}`);
}

/** `{"shape":[2,2],"data":[1,2,3,4]}`, `[[1,2],[3,4]]`, or either under "x". */
export function readJson(text: string): GivenTensor {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw new Unreadable(`this is no JSON: ${error instanceof Error ? error.message : String(error)}`);
  }
  if (isObject(value) && 'x' in value) value = value['x'];
  if (isObject(value)) {
    const { shape, data } = value;
    if (!Array.isArray(shape) || !Array.isArray(data)) throw new Unreadable('a tensor is {"shape":[…],"data":[…]} or nested arrays');
    const dimensions = checkedShape(shape);
    const elements = data.flat(Infinity).map(element);
    if (elements.length !== sizeOf(dimensions)) throw new Unreadable(`shape [${dimensions.join(', ')}] has ${sizeOf(dimensions)} elements, data has ${elements.length}`);
    return { shape: dimensions, data: elements, form: 'JSON' };
  }
  if (!Array.isArray(value)) throw new Unreadable('a tensor is {"shape":[…],"data":[…]} or nested arrays');
  const shape: number[] = [];
  for (let level: unknown = value; Array.isArray(level); level = level[0] as unknown) shape.push(level.length);
  const data: number[] = [];
  flatten(value, shape, 0, data);
  return { shape, data, form: 'JSON' };
}

function flatten(value: unknown, shape: readonly number[], depth: number, into: number[]): void {
  if (depth === shape.length) {
    into.push(element(value));
    return;
  }
  if (!Array.isArray(value) || value.length !== shape[depth]) throw new Unreadable(`the nested arrays are ragged: one at depth ${depth + 1} should have ${shape[depth]} entries`);
  for (const part of value) flatten(part, shape, depth + 1, into);
}

const isObject = (value: unknown): value is Record<string, unknown> => typeof value === 'object' && value !== null && !Array.isArray(value);
