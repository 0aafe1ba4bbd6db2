import { svg } from '../dom';
import { short } from '../format';

const width = 96;
const height = 24;

/** The course of some values, oldest first, on a scale that begins with 0. */
export function sparkline(values: readonly number[]): SVGSVGElement {
  const finite = values.map((value) => (Number.isFinite(value) ? Math.max(value, 0) : 0));
  const last = values.at(-1);
  const label = last === undefined ? 'no train-steps on this node yet' : `drift of the last ${values.length} train-steps, now ${short(last, 3)} nats`;
  const root = svg('svg', { class: 'sparkline', viewBox: `0 0 ${width} ${height}`, width, height, role: 'img', 'aria-label': label });
  if (finite.length === 0) {
    root.append(svg('line', { x1: 2, x2: width - 2, y1: height - 2, y2: height - 2, class: 'sparkline-none' }));
    return root;
  }
  const most = Math.max(...finite, 1e-12);
  const x = (i: number): number => 2 + (i / Math.max(finite.length - 1, 1)) * (width - 4);
  const y = (value: number): number => height - 3 - (value / most) * (height - 6);
  const points = finite.map((value, i) => `${x(i).toFixed(1)},${y(value).toFixed(1)}`).join(' ');
  root.append(
    svg('title', {}, label),
    svg('polyline', { points, class: 'sparkline-line' }),
    svg('circle', { cx: x(finite.length - 1), cy: y(finite.at(-1)!), r: 2, class: 'sparkline-end' }),
  );
  return root;
}
