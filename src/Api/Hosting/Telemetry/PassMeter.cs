using System.Diagnostics;
using System.Diagnostics.Metrics;
using BnService.Core.Layers;
using BnService.Core.Tensors;

namespace BnService.Api.Hosting.Telemetry;

/// <summary>What is computed over the elements of a batch.</summary>
internal enum PassKind
{
    /// <summary>Statistics are gathered.</summary>
    Moments,

    /// <summary>The output is computed.</summary>
    Normalize,

    /// <summary>Gradients are computed.</summary>
    Gradients,
}

/// <summary>Passes over batches: how long the kernels take, and over how many elements they go.</summary>
internal sealed class PassMeter(ServiceMeter service)
{
    private static readonly string[] Names = [Spans.Moments, Spans.Normalize, Spans.Gradients];
    private static readonly KeyValuePair<string, object?>[] Operations =
        Array.ConvertAll(Names, name => KeyValuePair.Create("operation", (object?)name));

    private readonly Histogram<double> _duration =
        service.Seconds("bnservice.kernel.duration", "Time in the kernels for one pass over a batch.", ServiceMeter.PassBounds);

    private readonly Counter<long> _elements =
        service.Meter.CreateCounter<long>("bnservice.elements", "{element}", "Elements of batches that passes went over.");

    /// <summary>A pass that is done at once; it ends when it is disposed.</summary>
    public WholePass Begin(PassKind kind, Shape shape) => new(this, kind, shape);

    /// <summary>An output that is computed in stretches, the times of which are added up; recorded when it is disposed.</summary>
    /// <param name="output">The output; taken over.</param>
    /// <param name="shape">Shape of the batch.</param>
    public LayerOutput Metered(LayerOutput output, Shape shape) =>
        new MeteredOutput(output, new DividedPass(this, PassKind.Normalize, shape));

    /// <summary>A pass that is done in stretches.</summary>
    public DividedPass Divided(PassKind kind, Shape shape) => new(this, kind, shape);

    private void Record(PassKind kind, long elements, double seconds)
    {
        ref readonly var operation = ref Operations[(int)kind];
        _duration.Record(seconds, operation);
        _elements.Add(elements, operation);
    }

    private static Activity? Span(PassKind kind, Shape shape)
    {
        if (Spans.Begin(Names[(int)kind]) is not { } span) return null;
        return span.SetTag(Spans.Shape, shape.ToString()).SetTag(Spans.Elements, shape.Count);
    }

    /// <summary>A pass that is done at once.</summary>
    internal readonly struct WholePass(PassMeter meter, PassKind kind, Shape shape) : IDisposable
    {
        private readonly Activity? _span = Span(kind, shape);
        private readonly long _begun = Stopwatch.GetTimestamp();

        public void Dispose()
        {
            meter.Record(kind, shape.Count, Stopwatch.GetElapsedTime(_begun).TotalSeconds);
            Spans.End(_span);
        }
    }

    /// <summary>A pass that is done in stretches, one after the other.</summary>
    internal sealed class DividedPass(PassMeter meter, PassKind kind, Shape shape) : IDisposable
    {
        // Whoever makes it is the request; who computes a stretch may be the writing of the answer.
        private readonly Activity? _request = Activity.Current;
        private Activity? _span;
        private long _ticks, _elements;
        private bool _isOver;

        /// <summary>A stretch begins.</summary>
        public long Begin()
        {
            if (_elements == 0 && _span is null && Spans.AreSeen)
            {
                var current = Activity.Current;
                Activity.Current = _request;
                _span = Span(kind, shape);
                Activity.Current = current;
            }
            return Stopwatch.GetTimestamp();
        }

        /// <summary>A stretch has ended.</summary>
        /// <param name="begun">When it began.</param>
        /// <param name="elements">Its length.</param>
        public void End(long begun, int elements)
        {
            _ticks += Stopwatch.GetTimestamp() - begun;
            _elements += elements;
        }

        public void Dispose()
        {
            if (_isOver) return;
            _isOver = true;
            if (_elements > 0) meter.Record(kind, _elements, (double)_ticks / Stopwatch.Frequency);
            Spans.End(_span);
        }
    }

    private sealed class MeteredOutput(LayerOutput inner, DividedPass pass) : LayerOutput
    {
        public override int Unit => inner.Unit;

        public override void Apply(int start, ReadOnlySpan<float> x, ReadOnlySpan<float> residual, Span<float> y)
        {
            var begun = pass.Begin();
            inner.Apply(start, x, residual, y);
            pass.End(begun, x.Length);
        }

        protected override void Dispose(bool disposing)
        {
            inner.Dispose();
            pass.Dispose();
        }
    }
}
