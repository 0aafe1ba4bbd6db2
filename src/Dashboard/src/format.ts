/** A number as the contract writes it: NaN and infinities are texts. */
export type Numeric = number | 'NaN' | 'Infinity' | '-Infinity';

export const toNumber = (value: Numeric): number => Number(value);
export const toNumbers = (values: readonly Numeric[] | null | undefined): number[] => (values ?? []).map(Number);

const counts = new Intl.NumberFormat('en');

/** A whole number with separators. */
export const count = (value: number): string => counts.format(value);

/** A number to so many significant digits, readable at any size. */
export function short(value: number, digits = 4): string {
  if (!Number.isFinite(value)) return Number.isNaN(value) ? 'NaN' : value > 0 ? '∞' : '−∞';
  if (value === 0) return '0';
  const size = Math.abs(value);
  const text = size >= 1e6 || size < 1e-4 ? value.toExponential(digits - 1).replace(/\.?0+e/, 'e') : String(Number(value.toPrecision(digits)));
  return text.replace('-', '−').replace('e+', 'e');
}

export const percent = (value: number): string => `${short(100 * value, 3)} %`;

/** How long ago something was, roughly. */
export function ago(at: string, now = Date.now()): string {
  const seconds = Math.max(0, (now - Date.parse(at)) / 1000);
  if (seconds < 5) return 'now';
  if (seconds < 60) return `${Math.floor(seconds)} s ago`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ago`;
  if (seconds < 86400) return `${Math.floor(seconds / 3600)} h ago`;
  const days = Math.floor(seconds / 86400);
  return days === 1 ? 'yesterday' : `${days} days ago`;
}

const times = new Intl.DateTimeFormat('en-GB', { dateStyle: 'medium', timeStyle: 'medium' });
export const time = (at: string): string => times.format(new Date(at));
