// Colours come from the style sheet, so that charts follow the colour scheme as everything else does.

export function colour(name: string): string {
  return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
}

const dark = matchMedia('(prefers-color-scheme: dark)');

/** Calls back whenever the colour scheme changes. */
export function onScheme(redraw: () => void, signal: AbortSignal): void {
  dark.addEventListener('change', redraw, { signal });
}

// Viridis, in steps: even to the eye, and told apart by who sees few colours.
const viridis = [
  [68, 1, 84], [70, 50, 126], [54, 92, 141], [39, 127, 142], [31, 161, 135], [74, 193, 109], [160, 218, 57], [253, 231, 37],
] as const;

/** A colour for a share of 0 to 1. */
export function heat(share: number): string {
  const place = Math.min(Math.max(share, 0), 1) * (viridis.length - 1);
  const low = viridis[Math.floor(place)]!;
  const high = viridis[Math.ceil(place)]!;
  const part = place - Math.floor(place);
  const [r, g, b] = low.map((value, i) => Math.round(value + part * (high[i]! - value)));
  return `rgb(${r} ${g} ${b})`;
}
