import { runHeyApi } from './heyApi';
import { runOpenApiFetch } from './openapiFetch';

declare const process: { argv: string[]; exitCode: number };

async function run(url: string): Promise<void> {
  await runHeyApi(url);
  await runOpenApiFetch(url);
}

run(process.argv[2]!).catch((error: unknown) => {
  console.error(error);
  process.exitCode = 1;
});
