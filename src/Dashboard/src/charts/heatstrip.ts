import { h, newId } from '../dom';
import { count, short } from '../format';
import { colour, heat, onScheme } from './palette';

export interface StripOptions {
  title: string;
  /** What a value is called in words. */
  what: string;
  /** Powers of ten between the colours, for values that are never negative. */
  log?: boolean;
  /** What is said of a channel where the pointer or the keyboard is. */
  describe(channel: number): string;
  /** The pointer or the keyboard is at a channel. */
  point(channel: number): void;
  /** A channel has been chosen by a click, by Enter or by the space bar. */
  choose(channel: number): void;
}

export interface Strip {
  element: HTMLElement;
  update(values: number[]): void;
  /** Marks a channel. */
  mark(channel: number): void;
  /** Says the numbers of a channel. */
  show(channel: number): void;
}

const smallest = 8;
const largest = 44;
const gap = 1;
const linear = (value: number): number => value;

/** One cell per channel, in as many rows as it takes for each to be seen, with the numbers under the pointer and the arrow keys. */
export function heatStrip(options: StripOptions, signal: AbortSignal): Strip {
  const canvas = h('canvas', { class: 'strip-canvas' });
  const title = newId('strip');
  const box = h('div', { class: 'strip-box', tabindex: 0, role: 'slider', 'aria-labelledby': title, 'aria-valuemin': 0, 'aria-valuemax': 0, 'aria-valuenow': 0, 'aria-valuetext': 'no channels' }, canvas);
  const readout = h('p', { class: 'strip-readout' });
  const low = h('span');
  const high = h('span');
  const ramp = h('canvas', { class: 'strip-ramp', width: 120, height: 10, 'aria-hidden': 'true' });
  const legend = h('p', { class: 'strip-legend' }, low, ramp, high);
  const element = h('div', { class: 'strip' }, h('div', { class: 'strip-head' }, h('h3', { id: title }, options.title), legend), box, readout);

  let values: number[] = [];
  let at = 0;
  let marked = -1;
  let columns = 1;
  let cell = smallest;

  const range = (): [number, number] => {
    const finite = values.filter((value) => Number.isFinite(value) && (!options.log || value > 0));
    return finite.length === 0 ? [0, 1] : [finite.reduce((a, b) => Math.min(a, b)), finite.reduce((a, b) => Math.max(a, b))];
  };

  // Where a few channels are much larger than the others, powers of ten tell the others apart as well.
  const scaleOf = (least: number, most: number): ((value: number) => number) => {
    if (options.log) return most / least > 10 ? Math.log : linear;
    const sizes = values.filter((value) => Number.isFinite(value) && value !== 0).map(Math.abs).sort((a, b) => a - b);
    const middle = sizes[sizes.length >> 1] ?? 1;
    return Math.max(Math.abs(least), Math.abs(most)) > 20 * middle ? (value) => Math.asinh((2 * value) / middle) : linear;
  };

  const draw = (): void => {
    const width = box.clientWidth;
    if (width === 0 || values.length === 0) return;
    cell = Math.max(smallest, Math.min(largest, Math.floor(width / values.length)));
    columns = Math.max(1, Math.min(values.length, Math.floor(width / cell)));
    const tall = values.length <= columns ? 28 : Math.max(smallest, Math.min(cell, 14));
    const rows = Math.ceil(values.length / columns);
    const ratio = devicePixelRatio || 1;
    canvas.width = columns * cell * ratio;
    canvas.height = rows * tall * ratio;
    canvas.style.width = `${columns * cell}px`;
    canvas.style.height = `${rows * tall}px`;
    const context = canvas.getContext('2d')!;
    context.scale(ratio, ratio);
    const [least, most] = range();
    const scale = scaleOf(least, most);
    const place = (value: number): number => (most === least ? 0.5 : (scale(value) - scale(least)) / (scale(most) - scale(least)));
    const bad = colour('bad');
    values.forEach((value, i) => {
      const [x, y] = [(i % columns) * cell, Math.floor(i / columns) * tall];
      const isOff = !Number.isFinite(value) || (options.log === true && value <= 0);
      context.fillStyle = isOff ? bad : heat(place(value));
      context.fillRect(x, y, cell - gap, tall - gap);
    });
    const outline = (i: number, stroke: string, line: number): void => {
      context.strokeStyle = stroke;
      context.lineWidth = line;
      context.strokeRect((i % columns) * cell + 0.5, Math.floor(i / columns) * tall + 0.5, cell - gap - 1, tall - gap - 1);
    };
    if (marked >= 0 && marked < values.length) outline(marked, colour('text'), 3);
    if (document.activeElement === box) outline(at, colour('focus'), 3);
    const isOne = most === least;
    low.textContent = isOne ? `all ${short(least)}` : short(least, 3);
    high.textContent = isOne ? '' : short(most, 3) + (scale === linear ? '' : ' (log)');
    ramp.hidden = isOne;
    drawRamp();
  };

  const drawRamp = (): void => {
    const context = ramp.getContext('2d')!;
    for (let x = 0; x < ramp.width; x++) {
      context.fillStyle = heat(x / (ramp.width - 1));
      context.fillRect(x, 0, 1, ramp.height);
    }
  };

  const show = (channel: number): void => {
    at = Math.min(Math.max(channel, 0), Math.max(values.length - 1, 0));
    const text = values.length === 0 ? 'no channels' : options.describe(at);
    readout.textContent = text;
    box.setAttribute('aria-valuemax', String(Math.max(values.length - 1, 0)));
    box.setAttribute('aria-valuenow', String(at));
    box.setAttribute('aria-valuetext', text);
  };

  const point = (channel: number): void => {
    show(channel);
    options.point(at);
  };

  box.addEventListener('keydown', (event) => {
    const steps: Record<string, number> = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns, PageUp: -10 * columns, PageDown: 10 * columns };
    const step = steps[event.key];
    if (step !== undefined) point(at + step);
    else if (event.key === 'Home') point(0);
    else if (event.key === 'End') point(values.length - 1);
    else if (event.key === 'Enter' || event.key === ' ') options.choose(at);
    else return;
    event.preventDefault();
    draw();
  });
  const under = (event: PointerEvent | MouseEvent): number => {
    const bounds = canvas.getBoundingClientRect();
    const row = Math.floor(((event.clientY - bounds.top) / bounds.height) * Math.ceil(values.length / columns));
    const column = Math.floor((event.clientX - bounds.left) / cell);
    return column < 0 || column >= columns || row < 0 ? -1 : row * columns + column;
  };
  canvas.addEventListener('pointermove', (event) => {
    const channel = under(event);
    if (channel >= 0 && channel < values.length) point(channel);
  });
  canvas.addEventListener('click', (event) => {
    const channel = under(event);
    if (channel < 0 || channel >= values.length) return;
    point(channel);
    options.choose(channel);
  });
  box.addEventListener('focus', draw);
  box.addEventListener('blur', draw);
  const sizes = new ResizeObserver(draw);
  sizes.observe(box);
  signal.addEventListener('abort', () => sizes.disconnect());
  onScheme(draw, signal);
  return {
    element,
    show,
    update(next) {
      values = next;
      element.hidden = values.length === 0;
      box.title = `${count(values.length)} channels; arrow keys show each, Enter follows one over time`;
      show(at);
      draw();
    },
    mark(channel) {
      marked = channel;
      draw();
    },
  };
}
