import { announce, fill, h } from '../dom';
import { count } from '../format';
import { explain, type Health, type Kind } from '../api/client';
import { watch } from '../api/events';
import { connectionMark } from '../connection';
import { marks } from '../health';
import { place } from '../router';
import { firstVisit } from './first-visit';
import { type Filter, SessionPages } from './pages';
import { virtualTable } from './table';

// The contract's kinds, as a record so that none can be missing.
const kinds: Record<Kind, string> = {
  batch_norm: 'batch norm', batch_renorm: 'batch renorm', layer_norm: 'layer norm', group_norm: 'group norm', instance_norm: 'instance norm', rms_norm: 'RMS norm',
};

const betweenRefreshes = 1000;

/** All sessions, searched and filtered by the service, a page at a time. */
export function overview(root: HTMLElement, signal: AbortSignal): void {
  const filter: Filter = filterOf(place().query);
  const search = h('input', { type: 'search', id: 'search', value: filter.search, placeholder: 'part of a name', autocomplete: 'off', spellcheck: 'false', maxlength: 128 });
  const kind = choice('kind', 'any kind', Object.entries(kinds), filter.kind);
  const health = choice('health', 'any health', Object.entries(marks).map(([mark, { text }]) => [mark, text]), filter.health);
  const summary = h('p', { class: 'summary', role: 'status' }, 'Reading the sessions …');
  const problem = h('p', { class: 'problem', role: 'alert', hidden: true });
  const connection = connectionMark();
  const table = virtualTable();
  const content = h('div', {}, table.element);
  fill(
    root,
    h('div', { class: 'title' }, h('h1', {}, 'Sessions'), connection.element),
    h('form', { class: 'filters', role: 'search', onsubmit: (event: Event) => event.preventDefault() },
      field('search', 'Search', search), field('kind', 'Kind', kind), field('health', 'Health', health)),
    summary, problem, content,
  );

  let reading = new AbortController();
  let pages = new SessionPages(filter, reading.signal);

  const failed = (error: unknown): void => {
    if (signal.aborted || reading.signal.aborted) return;
    problem.hidden = false;
    problem.textContent = explain(error);
    setTimeout(() => void look(), 2000);
  };
  const show = (): void => {
    table.show(pages.rows, pages.length);
    const isFiltered = Object.values(filter).some((value) => value !== '');
    const isEmpty = pages.isComplete && pages.rows.length === 0 && pages.damaged.length === 0;
    const damaged = pages.damaged.length === 0 ? '' : `; damaged in the storage, to be restored or deleted: ${pages.damaged.join(', ')}`;
    const all = filter.health === '' ? (pages.total ?? pages.rows.length) : pages.rows.length;
    const more = filter.health !== '' && !pages.isComplete ? ' so far' : '';
    const said = isEmpty && isFiltered ? 'No session fits.' : isEmpty ? 'There are no sessions yet.' : `${count(all)} ${all === 1 ? 'session' : 'sessions'}${more}, newest first${damaged}`;
    if (summary.textContent !== said) summary.textContent = said;
    table.element.hidden = isEmpty;
    const visitor = content.querySelector('.first-visit');
    if (isEmpty && !isFiltered && !visitor) content.append(firstVisit(signal));
    else if (!isEmpty) visitor?.remove();
  };
  const look = async (): Promise<void> => {
    const mine = pages;
    try {
      const [, last] = table.visible();
      await mine.reach(last + 30);
      if (mine !== pages || signal.aborted) return;
      problem.hidden = true;
      show();
      // Where the rows that were read are fewer than fit on the screen.
      if (!mine.isComplete && table.visible()[1] >= mine.rows.length) void look();
    } catch (error) {
      if (mine === pages) failed(error);
    }
  };
  const restart = (): void => {
    reading.abort();
    reading = new AbortController();
    Object.assign(filter, { search: search.value.trim(), kind: kind.value, health: health.value });
    pages = new SessionPages({ ...filter }, reading.signal);
    const query = new URLSearchParams(Object.entries(filter).filter(([, value]) => value !== ''));
    history.replaceState(null, '', `#/${query.size > 0 ? `?${query}` : ''}`);
    scrollTo(0, 0);
    void look().then(() => announce(summary.textContent ?? ''));
  };

  let waiting: ReturnType<typeof setTimeout> | undefined;
  search.addEventListener('input', () => {
    clearTimeout(waiting);
    waiting = setTimeout(restart, 200);
  });
  kind.addEventListener('change', restart);
  health.addEventListener('change', restart);

  let frame = 0;
  const scrolled = (): void => {
    cancelAnimationFrame(frame);
    frame = requestAnimationFrame(() => {
      show();
      void look();
    });
  };
  addEventListener('scroll', scrolled, { passive: true, signal });
  addEventListener('resize', scrolled, { signal });

  // What moves is read anew with the page that it is on, however many rows of it do.
  let isStale = false;
  let isRefreshing = false;
  const refresh = async (): Promise<void> => {
    if (isRefreshing || document.hidden) return void (isStale = true);
    isRefreshing = true;
    isStale = false;
    const mine = pages;
    try {
      if (mine.rows.length === 0) restart();
      else {
        const [first, last] = table.visible();
        const hasChanged = await mine.refresh(first, last);
        if (mine !== pages) return;
        if (mine.isOutdated) restart();
        else if (hasChanged) show();
      }
    } catch (error) {
      failed(error);
    }
    setTimeout(() => {
      isRefreshing = false;
      if (isStale && !signal.aborted) void refresh();
    }, betweenRefreshes);
  };
  document.addEventListener('visibilitychange', () => !document.hidden && isStale && void refresh(), { signal });
  const ages = setInterval(() => show(), 15_000);
  signal.addEventListener('abort', () => {
    reading.abort();
    clearInterval(ages);
    clearTimeout(waiting);
  });
  void look();
  void watch('/v1/events', {
    event: () => void refresh(),
    state: connection.show,
    resumed: () => void refresh(),
    ended: failed,
  }, signal);
}

function filterOf(query: URLSearchParams): Filter {
  const [kind, health] = [query.get('kind') ?? '', query.get('health') ?? ''];
  return { search: query.get('search') ?? '', kind: kind in kinds ? (kind as Kind) : '', health: health in marks ? (health as Health) : '' };
}

function choice(id: string, none: string, options: [string, string][], value: string): HTMLSelectElement {
  const select = h('select', { id }, h('option', { value: '' }, none), ...options.map(([key, text]) => h('option', { value: key }, text)));
  select.value = value;
  return select;
}

const field = (id: string, label: string, input: HTMLElement): HTMLElement => h('div', { class: 'field' }, h('label', { for: id }, label), input);
