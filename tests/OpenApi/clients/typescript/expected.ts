// What every client sends, and what it must get: exact values, of float32 where they are elements.
export const batch = { shape: [4, 2], data: [1, 10, 2, 20, 3, 30, 4, 40] };
export const gradient = { shape: [4, 2], data: [1, 0, 1, 0, 1, 0, 1, 0] };

// (x - mean) / sqrt(var + eps) with the batch's mean 2.5 and 25, and its variance 1.25 and 125.
const column = (deviations: number[], variance: number): number[] => deviations.map((deviation) => deviation / Math.sqrt(variance + 1e-5));
const interleaved = (a: number[], b: number[]): number[] => a.flatMap((value, i) => [value, b[i]!]);
export const normalized = interleaved(column([-1.5, -0.5, 0.5, 1.5], 1.25), column([-15, -5, 5, 15], 125));

// The same with the running ones: 0.1 of the batch's mean, and 0.9 + 0.1 of its unbiased variance.
export const inferred = interleaved(column([0.75, 1.75, 2.75, 3.75], 0.9 + 0.1 * 5 / 3), column([7.5, 17.5, 27.5, 37.5], 0.9 + 0.1 * 500 / 3));

export function expect(actual: unknown, expected: unknown): void {
  if (actual !== expected) throw new Error(`expected ${String(expected)}, got ${String(actual)}`);
}

export function expectNumbers(actual: readonly number[] | null | undefined, expected: readonly number[]): void {
  const isClose = actual?.length === expected.length && actual.every((value, i) => Math.abs(value - expected[i]!) <= 1e-6 * Math.max(1, Math.abs(expected[i]!)));
  if (!isClose) throw new Error(`expected ${expected.join(', ')}, got ${actual?.join(', ') ?? 'nothing'}`);
}
