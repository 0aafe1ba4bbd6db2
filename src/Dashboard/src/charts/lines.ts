import uPlot from 'uplot';
import { h } from '../dom';
import { short, time } from '../format';
import { colour, onScheme } from './palette';

export interface Line {
  label: string;
  /** Name of a colour of the style sheet. */
  colour: string;
  /** The scale on the right instead of the one on the left. */
  right?: boolean;
  dashed?: boolean;
  /** Points instead of a line. */
  points?: boolean;
}

export interface ChartOptions {
  title: string;
  x: 'step' | 'time';
  lines: Line[];
  left: string;
  right?: string;
  /** Powers of ten on both scales. */
  log?: boolean;
  /** Shown in place of the chart as long as there is nothing to show. */
  empty: string;
}

export interface Chart {
  element: HTMLElement;
  /** Shows other values: those of x, then those of each line; null where there is none. */
  update(data: [number[], ...(number | null)[][]]): void;
}

const height = 190;
const nouns = { step: ['step', 'steps'], time: ['batch', 'batches'] } as const;

/** Lines over steps or time, drawn anew when the window or the colour scheme changes. */
export function lineChart(options: ChartOptions, signal: AbortSignal): Chart {
  const canvas = h('div', { class: 'chart-canvas', 'aria-hidden': 'true' });
  const summary = h('p', { class: 'chart-summary' });
  const element = h('figure', { class: 'chart' }, h('figcaption', {}, options.title), canvas, summary);
  let plot: uPlot | null = null;
  let data: [number[], ...(number | null)[][]] = [[], ...options.lines.map(() => [])];

  const draw = (): void => {
    plot?.destroy();
    plot = null;
    if (data[0].length === 0 || canvas.clientWidth === 0) return;
    canvas.replaceChildren();
    plot = new uPlot(plotOptions(options, canvas.clientWidth), data as uPlot.AlignedData, canvas);
  };
  const describe = (): void => {
    const parts = options.lines.map((line, i) => {
      const last = (data[i + 1] ?? []).findLast((value) => value !== null);
      return last === undefined || last === null || line.dashed ? null : `${line.label} ${short(last, 3)}`;
    });
    const said = parts.filter((part) => part !== null);
    summary.textContent = data[0].length === 0 ? options.empty : `Now: ${said.join(', ')} (${data[0].length} ${nouns[options.x][data[0].length === 1 ? 0 : 1]}).`;
  };

  const sizes = new ResizeObserver(() => {
    if (plot && canvas.clientWidth > 0 && Math.abs(plot.width - canvas.clientWidth) > 1) plot.setSize({ width: canvas.clientWidth, height });
    else if (!plot) draw();
  });
  sizes.observe(canvas);
  signal.addEventListener('abort', () => {
    sizes.disconnect();
    plot?.destroy();
  });
  onScheme(draw, signal);
  describe();
  return {
    element,
    update(next) {
      const hadNothing = plot === null;
      data = next;
      describe();
      canvas.classList.toggle('chart-empty', data[0].length === 0);
      if (hadNothing || data[0].length === 0) draw();
      else plot!.setData(data as uPlot.AlignedData);
    },
  };
}

function plotOptions(options: ChartOptions, width: number): uPlot.Options {
  const muted = colour('muted');
  const grid = { stroke: colour('grid'), width: 1 };
  const font = '12px system-ui, sans-serif';
  const values = (_: uPlot, splits: (number | null)[]): string[] => splits.map((split) => (split === null ? '' : short(split, 3)));
  const axis = (scale: string, label: string, side: uPlot.Axis.Side): uPlot.Axis => ({
    scale, label, side, stroke: muted, font, labelFont: font, labelSize: 18, labelGap: 2, size: 56, values,
    grid: side === 3 ? { ...grid, ...(options.log ? { filter: powers } : {}) } : { show: false }, ticks: { ...grid, ...(options.log ? { filter: powers } : {}) },
    ...(options.log ? { filter: powers } : {}),
  });
  const scale: uPlot.Scale = options.log ? { distr: 3, log: 10 } : { range: (_, low, high) => padded(low, high) };
  const scales: uPlot.Scales = { x: { time: options.x === 'time' }, left: scale };
  const axes: uPlot.Axis[] = [
    options.x === 'time'
      ? { stroke: muted, font, grid, ticks: grid, size: 34, space: 90, values: (_, splits, _axis, _space, step) => splits.map((split) => clock(split, step)) }
      : { stroke: muted, font, grid, ticks: grid, size: 34, values: (_, splits) => splits.map((split) => (Number.isInteger(split) ? String(split) : '')) },
    axis('left', options.left, 3),
  ];
  if (options.right !== undefined) {
    scales['right'] = options.log ? { distr: 3, log: 10 } : { range: (_, low, high) => padded(low, high) };
    axes.push(axis('right', options.right, 1));
  }
  return {
    width, height, scales, axes,
    legend: { show: true, live: true },
    cursor: { drag: { x: false, y: false } },
    series: [
      { label: options.x === 'step' ? 'step' : 'time', value: (_, value) => (value === null ? '–' : options.x === 'step' ? String(value) : time(new Date(1000 * value).toISOString())) },
      ...options.lines.map((line): uPlot.Series => {
        const stroke = colour(line.colour);
        const series: uPlot.Series = {
          label: line.label, scale: line.right ? 'right' : 'left', stroke, width: line.points ? 0 : 2, spanGaps: true,
          points: { show: line.points ? true : undefined as unknown as boolean, size: 5, stroke, fill: stroke },
          value: (_, value) => (value === null || value === undefined ? '–' : short(value, 4)),
        };
        if (line.dashed) series.dash = [4, 4];
        if (line.dashed) series.points = { show: false };
        return series;
      }),
    ],
  };
}

// Whole powers of ten, and of many of them some.
const mostPowers = 5;
function powers(_: uPlot, splits: number[]): (number | null)[] {
  const all = splits.filter((split) => split > 0 && isPower(split)).map((split) => Math.round(Math.log10(split)));
  const each = Math.max(1, Math.ceil(all.length / mostPowers));
  // Scales of less than a power of ten have nothing but what lies between.
  return splits.map((split) => (all.length < 2 || (isPower(split) && Math.round(Math.log10(split)) % each === 0) ? split : null));
}

const isPower = (value: number): boolean => Math.abs(Math.log10(value) - Math.round(Math.log10(value))) < 1e-9;

function clock(seconds: number, step: number): string {
  const at = new Date(1000 * seconds);
  const text = at.toLocaleTimeString('en-GB', { hour12: false });
  if (step >= 86400) return at.toLocaleDateString('en-GB', { day: 'numeric', month: 'short' });
  return step < 1 ? `${text.slice(3)}.${String(at.getMilliseconds()).padStart(3, '0')}` : step < 60 ? text : text.slice(0, 5);
}

// A constant has a range too.
function padded(low: number, high: number): [number, number] {
  if (low === null || !Number.isFinite(low) || !Number.isFinite(high)) return [0, 1];
  const space = high > low ? 0.08 * (high - low) : Math.max(Math.abs(high) * 0.1, 1e-6);
  return [low >= 0 && low - space < 0 ? 0 : low - space, high + space];
}
