var builder = WebApplication.CreateBuilder(args);
var app = builder.Build();
app.MapGet("/health/ready", () => "ready");
app.MapGet("/health/live", () => "live");
app.Run();
