import { svg } from '../dom';
import { short } from '../format';

const width = 200;
const height = 84;
const foot = 16;
const bins = 24;

/** How the values of a channel are spread. */
export function histogram(values: readonly number[], label: string, kind: 'before' | 'after'): SVGSVGElement {
  const finite = values.filter(Number.isFinite);
  const root = svg('svg', { class: `histogram histogram-${kind}`, viewBox: `0 0 ${width} ${height}`, role: 'img' });
  if (finite.length === 0) {
    root.setAttribute('aria-label', `${label}: no finite values`);
    root.append(svg('text', { x: width / 2, y: height / 2, 'text-anchor': 'middle' }, 'no finite values'));
    return root;
  }
  let least = Infinity;
  let most = -Infinity;
  let sum = 0;
  for (const value of finite) {
    least = Math.min(least, value);
    most = Math.max(most, value);
    sum += value;
  }
  const mean = sum / finite.length;
  const deviation = Math.sqrt(finite.reduce((total, value) => total + (value - mean) ** 2, 0) / finite.length);
  const counts = new Array<number>(bins).fill(0);
  for (const value of finite) counts[most === least ? bins >> 1 : Math.min(bins - 1, Math.floor(((value - least) / (most - least)) * bins))]! += 1;
  const highest = Math.max(...counts);
  const text = `${label}: ${finite.length} values from ${short(least)} to ${short(most)}, mean ${short(mean)}, standard deviation ${short(deviation)}`;
  root.setAttribute('aria-label', text);
  root.append(svg('title', {}, text));
  counts.forEach((number, i) => {
    const tall = (number / highest) * (height - foot - 4);
    if (number > 0) root.append(svg('rect', { x: (i * width) / bins + 0.5, y: height - foot - tall, width: width / bins - 1, height: tall }));
  });
  root.append(
    svg('line', { x1: 0, x2: width, y1: height - foot, y2: height - foot, class: 'histogram-axis' }),
    svg('text', { x: 1, y: height - 3 }, short(least, 3)),
    svg('text', { x: width - 1, y: height - 3, 'text-anchor': 'end' }, short(most, 3)),
  );
  return root;
}
