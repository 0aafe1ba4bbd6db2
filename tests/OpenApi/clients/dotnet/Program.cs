using BnService.GeneratedClients;

await NSwagJob.RunAsync(args[0]);
await KiotaJob.RunAsync(args[0]);
