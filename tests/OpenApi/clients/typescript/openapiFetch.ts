// The main job through the types of openapi-typescript, with openapi-fetch.
import createClient from 'openapi-fetch';
import type { paths } from './generated/schema';
import { batch, expect, expectNumbers, gradient, inferred, normalized } from './expected';

export async function runOpenApiFetch(baseUrl: string): Promise<void> {
  const client = createClient<paths>({ baseUrl });
  const params = { path: { session: 'openapi-fetch' } };
  const session = await client.POST('/v1/sessions', { body: { name: params.path.session, num_features: 2 } });
  expect(session.data?.kind, 'batch_norm');
  const step = await client.POST('/v1/sessions/{session}/train-step', { params, body: { x: batch } });
  expectNumbers(step.data?.y.data, normalized);
  const served = await client.POST('/v1/sessions/{session}/inference', { params, body: { x: batch } });
  expectNumbers(served.data?.y.data, inferred);
  const body = { step_id: step.data?.step_id ?? null, dy: gradient, update: { optimizer: 'sgd', learning_rate: 0.5 } } as const;
  const gradients = await client.POST('/v1/sessions/{session}/backward', { params, body });
  expectNumbers(gradients.data?.dbeta, [4, 0]);
  expectNumbers(gradients.data?.beta, [-2, 0]);
  expectNumbers((await client.GET('/v1/sessions/{session}/stats', { params })).data?.running_mean, [0.25, 2.5]);
  expect((await client.GET('/v1/sessions', { params: { query: { prefix: params.path.session, limit: 1 } } })).data?.sessions.length, 1);
  expect((await client.DELETE('/v1/sessions/{session}', { params })).response.status, 204);
  expect((await client.GET('/v1/sessions/{session}', { params })).error?.code, 'session-not-found');
}
