// Elements from code. Text is always set as text: nothing that comes from the service or the user is ever read as HTML.

export type Child = Node | string | number | null | undefined | false;
type Listener = (event: never) => void;
export type Attributes = Record<string, string | number | boolean | null | undefined | Listener>;

function apply(element: Element, attributes: Attributes, children: readonly Child[]): void {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (typeof value === 'function') element.addEventListener(name.slice(2), value as EventListener);
    else element.setAttribute(name, value === true ? '' : String(value));
  }
  append(element, children);
}

/** Appends nodes, and texts as texts. */
export function append(element: Element, children: readonly Child[]): void {
  for (const child of children) {
    if (child === null || child === undefined || child === false) continue;
    element.append(typeof child === 'number' ? String(child) : child);
  }
}

/** An HTML element; attributes whose names begin with "on" are listeners. */
export function h<K extends keyof HTMLElementTagNameMap>(tag: K, attributes: Attributes = {}, ...children: Child[]): HTMLElementTagNameMap[K] {
  const element = document.createElement(tag);
  apply(element, attributes, children);
  return element;
}

/** An SVG element. */
export function svg<K extends keyof SVGElementTagNameMap>(tag: K, attributes: Attributes = {}, ...children: Child[]): SVGElementTagNameMap[K] {
  const element = document.createElementNS('http://www.w3.org/2000/svg', tag);
  apply(element, attributes, children);
  return element;
}

/** Replaces what an element holds. */
export function fill(element: Element, ...children: Child[]): void {
  element.replaceChildren();
  append(element, children);
}

let numbered = 0;

/** An id that no other element has. */
export const newId = (name: string): string => `${name}-${++numbered}`;

/** Something for screen readers alone. */
export const spoken = (text: string): HTMLElement => h('span', { class: 'spoken' }, text);

const politely = h('div', { class: 'spoken', role: 'status', 'aria-live': 'polite' });

/** Says something to who does not see it appear. */
export function announce(text: string): void {
  if (!politely.isConnected) document.body.append(politely);
  politely.textContent = text;
}
