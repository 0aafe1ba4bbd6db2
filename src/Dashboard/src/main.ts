import './styles/base.css';
import './styles/pages.css';
import './styles/charts.css';
import 'uplot/dist/uPlot.min.css';
import { announce, h } from './dom';
import { overview } from './overview/overview';
import { place, toOverview } from './router';
import { sessionPage } from './session/session';
import { tryIt } from './tryit/tryit';

const main = h('main', { id: 'main', tabindex: -1 });
document.body.append(
  h('a', { class: 'skip', href: '#main', onclick: (event: Event) => {
    event.preventDefault();
    main.focus();
  } }, 'Skip to the content'),
  h('header', {}, h('nav', { 'aria-label': 'BnService' },
    h('a', { href: toOverview, class: 'brand' }, 'BnService'), h('a', { href: '/swagger' }, 'API'), h('a', { href: '/problems' }, 'Problems'))),
  main,
);

let leaving = new AbortController();
let last = '';

function show(): void {
  const { view, session } = place();
  // The overview writes its filters into the address: that is no other place.
  const here = `${view} ${session}`;
  if (here === last) return;
  const isFirst = last === '';
  last = here;
  leaving.abort();
  leaving = new AbortController();
  main.replaceChildren();
  scrollTo(0, 0);
  const titles = { overview: 'Sessions', session, try: `Try ${session}` };
  document.title = `${titles[view]} · BnService`;
  if (view === 'session') sessionPage(main, session, leaving.signal);
  else if (view === 'try') tryIt(main, session, leaving.signal);
  else overview(main, leaving.signal);
  if (isFirst) return;
  main.focus({ preventScroll: true });
  announce(titles[view]);
}

addEventListener('hashchange', show);
show();
