// The calls of the service, typed by its OpenAPI document: a change of the contract that this page does not follow breaks its build.
import { askForKey, forgetKey, storedKey } from './key';
import type { components, paths } from './schema';

export type Schemas = components['schemas'];
export type Session = Schemas['SessionResource'];
export type Health = Schemas['Health'];
export type Kind = Schemas['NormalizerKind'];
export type Stats = Schemas['StatsResponse'];
export type Diagnosis = Schemas['DiagnosticsResponse'];
export type History = Schemas['HistoryResponse'];
export type Step = Schemas['HistoryLine'];
export type InferenceStep = Schemas['InferenceHistoryLine'];
export type Snapshot = Schemas['SnapshotResource'];
export type Drift = Schemas['DriftReport'];
export type Finding = Schemas['FindingReport'];

type Method = 'get' | 'post' | 'put' | 'patch' | 'delete';
type Operation<P extends keyof paths, M extends Method> = NonNullable<paths[P][M]>;
type Json<T> = T extends { content: { 'application/json': infer B } } ? B : undefined;
type Result<O> = O extends { responses: infer R } ? (200 extends keyof R ? Json<R[200]> : 201 extends keyof R ? Json<R[201]> : undefined) : never;
type Query<O> = O extends { parameters: { query?: infer Q } } ? Q : never;
type Path<O> = O extends { parameters: { path: infer V } } ? V : Record<string, never>;
type Body<O> = O extends { requestBody?: infer B } ? Json<NonNullable<B>> : never;

export interface Call<O> {
  path?: Path<O>;
  query?: Query<O>;
  body?: Body<O>;
  signal?: AbortSignal;
}

/** What the service has refused, and why (RFC 9457). */
export class Refusal extends Error {
  constructor(
    readonly status: number,
    readonly code: string,
    readonly title: string,
    detail: string,
  ) {
    super(detail);
  }
}

/** The service could not be reached. */
export class Unreachable extends Error {}

/** What went wrong, for people. */
export function explain(error: unknown): string {
  if (error instanceof Refusal && error.status === 403) return `Your key may not do this: ${error.message}.`;
  if (error instanceof Refusal) return `${error.title}: ${error.message}`;
  if (error instanceof Unreachable) return 'The service does not answer. The page goes on as soon as it does.';
  return error instanceof Error ? error.message : String(error);
}

export const sessionPath = (session: string): string => `/v1/sessions/${encodeURIComponent(session)}`;

// Whether the service has answered without a key: then somebody has created the first one since.
let wasOpen = false;

/** Sends a request with the key, and asks for one where the service does. */
export async function send(path: string, init: RequestInit = {}): Promise<Response> {
  for (;;) {
    const key = storedKey();
    const headers = new Headers(init.headers);
    if (key) headers.set('Authorization', `Bearer ${key}`);
    let response: Response;
    try {
      response = await fetch(path, { ...init, headers, cache: 'no-store', credentials: 'omit', referrerPolicy: 'no-referrer' });
    } catch (error) {
      if (init.signal?.aborted) throw error;
      throw new Unreachable(String(error));
    }
    if (response.ok) {
      wasOpen = !key;
      return response;
    }
    const refusal = await refusalOf(response);
    // A gateway in front of a service that is not there.
    if ([502, 503, 504].includes(response.status) && refusal.code === 'unknown') throw new Unreachable(refusal.message);
    if (response.status !== 401) throw refusal;
    // Another call may have been given a key since this one was sent.
    if (key === storedKey()) {
      forgetKey();
      const changed = 'The first key of this service has been created: from now on every call needs a key.';
      await askForKey(key ? `The key was not accepted: ${refusal.message}.` : wasOpen ? changed : `${refusal.message}.`);
    }
  }
}

async function refusalOf(response: Response): Promise<Refusal> {
  const text = await response.text().catch(() => '');
  try {
    const problem = JSON.parse(text) as Schemas['Problem'];
    return new Refusal(response.status, problem.code, problem.title, problem.detail);
  } catch {
    return new Refusal(response.status, 'unknown', `HTTP ${response.status}`, text.slice(0, 200) || response.statusText);
  }
}

/** Makes a call of the contract. */
export async function call<M extends Method, P extends keyof paths>(method: M, template: P, options: Call<Operation<P, M>> = {}): Promise<Result<Operation<P, M>>> {
  const values = (options.path ?? {}) as Record<string, string | number>;
  let url = (template as string).replace(/\{(\w+)\}/g, (_, name: string) => encodeURIComponent(values[name] ?? ''));
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries((options.query ?? {}) as Record<string, string | number | undefined>)) if (value !== undefined && value !== '') query.set(name, `${value}`);
  if (query.size > 0) url += `?${query}`;
  const init: RequestInit = { method: method.toUpperCase() };
  if (options.signal) init.signal = options.signal;
  if (options.body !== undefined) {
    init.body = JSON.stringify(options.body);
    init.headers = { 'Content-Type': 'application/json' };
  }
  const response = await send(url, init);
  return (response.status === 204 ? undefined : await response.json()) as Result<Operation<P, M>>;
}
