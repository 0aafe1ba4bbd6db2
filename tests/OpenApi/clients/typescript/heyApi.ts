// The main job through the client of @hey-api/openapi-ts.
import { client } from './generated/hey-api/client.gen';
import { backward, createSession, deleteSession, getSession, getStats, inference, listSessions, trainStep } from './generated/hey-api/sdk.gen';
import { batch, expect, expectNumbers, gradient, inferred, normalized } from './expected';

export async function runHeyApi(baseUrl: string): Promise<void> {
  client.setConfig({ baseUrl, throwOnError: true });
  const path = { session: 'hey-api' };
  const session = (await createSession({ throwOnError: true, body: { name: path.session, num_features: 2 } })).data;
  expect(session.kind, 'batch_norm');
  const step = (await trainStep({ throwOnError: true, path, body: { x: batch } })).data;
  expectNumbers(step.y.data, normalized);
  const served = (await inference({ throwOnError: true, path, body: { x: batch } })).data;
  expectNumbers(served.y.data, inferred);
  const gradients = (await backward({ throwOnError: true, path, body: { step_id: step.step_id, dy: gradient, update: { optimizer: 'sgd', learning_rate: 0.5 } } })).data;
  expectNumbers(gradients.dbeta, [4, 0]);
  expectNumbers(gradients.beta, [-2, 0]);
  expectNumbers((await getStats({ throwOnError: true, path })).data.running_mean, [0.25, 2.5]);
  expect((await listSessions({ throwOnError: true, query: { prefix: path.session, limit: 1 } })).data.sessions.length, 1);
  await deleteSession({ throwOnError: true, path });
  const { error } = await getSession({ throwOnError: false, path });
  expect(error?.code, 'session-not-found');
}
