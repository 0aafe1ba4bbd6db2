// Places in the page are behind the '#': the service has one page, and the browser's back button works.

export interface Place {
  view: 'overview' | 'session' | 'try';
  session: string;
  query: URLSearchParams;
}

/** Where the address points to. */
export function place(): Place {
  const [path = '', query = ''] = location.hash.replace(/^#\/?/, '').split('?');
  const [view, session = ''] = path.split('/');
  const parsed = new URLSearchParams(query);
  if (view === 'sessions' && session !== '') return { view: 'session', session: decode(session), query: parsed };
  if (view === 'try' && session !== '') return { view: 'try', session: decode(session), query: parsed };
  return { view: 'overview', session: '', query: parsed };
}

export const toOverview = '#/';
export const toSession = (name: string): string => `#/sessions/${encodeURIComponent(name)}`;
export const toTry = (name: string): string => `#/try/${encodeURIComponent(name)}`;

function decode(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}
