import { call, type Health, type Kind, type Session } from '../api/client';

export interface Filter {
  search: string;
  kind: Kind | '';
  health: Health | '';
}

interface Page {
  /** What the page was asked for with. */
  cursor: string | null;
  ids: string[];
}

const pageSize = 100;
const jumpSize = 1000;

/** The sessions of a list, read page by page as far as somebody looks. */
export class SessionPages {
  readonly rows: Session[] = [];
  /** Names of sessions that are damaged in the storage, of which no row can be shown. */
  readonly damaged: string[] = [];
  total: number | null = null;
  isComplete = false;
  /** So much has come at the top that the list has to be read from its beginning. */
  isOutdated = false;
  private pages: Page[] = [];
  private next: string | null = null;
  private loading: Promise<void> | null = null;

  constructor(
    private readonly filter: Filter,
    private readonly signal: AbortSignal,
  ) {}

  /** How many rows the list has, as far as that is known: at least those that were read. */
  get length(): number {
    if (this.isComplete) return this.rows.length;
    return Math.max(this.filter.health === '' ? (this.total ?? 0) : 0, this.rows.length + 1);
  }

  /** Reads on until there are so many rows, or no more. */
  async reach(rows: number): Promise<void> {
    // One who comes while a page is being read waits for it, and sees then whether that was enough.
    while (this.loading) await this.loading;
    while (!this.isComplete && this.rows.length < rows && !this.signal.aborted) {
      this.loading = this.readPage(rows - this.rows.length > 3 * pageSize ? jumpSize : pageSize).finally(() => (this.loading = null));
      await this.loading;
    }
  }

  /** Reads the pages of some rows anew; true where what is shown has changed. */
  async refresh(first: number, last: number): Promise<boolean> {
    let start = 0;
    let changed = false;
    for (const page of [...this.pages]) {
      const end = start + page.ids.length;
      if (end > first && start <= last) changed = (await this.readAgain(page, start, end)) || changed;
      start += page.ids.length;
    }
    return changed;
  }

  private async readAgain(page: Page, start: number, end: number): Promise<boolean> {
    const isFirst = page === this.pages[0];
    const answer = await this.ask(page.cursor, Math.max(Math.min(page.ids.length + (isFirst ? pageSize : 0), jumpSize), 1), isFirst);
    if (this.signal.aborted || !this.pages.includes(page)) return false;
    const known = new Map(answer.sessions.map((session) => [session.id, session]));
    if (isFirst && answer.total !== undefined && answer.total !== null) this.total = answer.total;
    if (!isFirst) return this.replace(page, start, end, page.ids.flatMap((id) => known.get(id) ?? []));
    // New sessions come at the top and deleted ones are missing; what lies behind the answer stays as it was.
    const reached = page.ids.findLastIndex((id) => known.has(id));
    this.isOutdated = reached < 0 && answer.next_cursor !== null;
    const last = answer.sessions.findIndex((session) => session.id === page.ids[reached]);
    const behind = answer.next_cursor === null ? [] : this.rows.slice(start + reached + 1, end);
    return this.replace(page, start, end, reached < 0 ? answer.sessions : [...answer.sessions.slice(0, last + 1), ...behind]);
  }

  private replace(page: Page, start: number, end: number, rows: Session[]): boolean {
    this.rows.splice(start, end - start, ...rows);
    page.ids = rows.map((session) => session.id);
    return true;
  }

  private async readPage(size: number): Promise<void> {
    const cursor = this.next;
    const answer = await this.ask(cursor, size, cursor === null);
    if (this.signal.aborted) return;
    if (answer.total !== undefined && answer.total !== null) this.total = answer.total;
    this.pages.push({ cursor, ids: answer.sessions.map((session) => session.id) });
    this.rows.push(...answer.sessions);
    this.damaged.push(...(answer.damaged ?? []).map((session) => session.name));
    this.next = answer.next_cursor;
    this.isComplete = answer.next_cursor === null;
  }

  private ask(cursor: string | null, limit: number, withTotal: boolean) {
    const query: Record<string, string> = { limit: String(limit), include: withTotal ? 'health,drift,total' : 'health,drift' };
    for (const [name, value] of Object.entries(this.filter)) if (value !== '') query[name] = value;
    if (cursor !== null) query['cursor'] = cursor;
    return call('get', '/v1/sessions', { query, signal: this.signal });
  }
}
