return await BnService.Experiments.ExperimentsCommand.RunAsync(args);
