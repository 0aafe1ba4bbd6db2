using BnService.Core.Tensors;

namespace BnService.Core.Normalizers;

/// <summary>
/// The positions of a batch that a mask keeps, or those that it leaves out, as runs of adjacent elements: channel after channel, or where
/// channels are adjacent row after row. Side by side they are a smaller batch; see <see cref="Layout.ForPositions"/>.
/// </summary>
internal ref struct MaskedRuns(ChannelView view, ReadOnlySpan<bool> mask, bool kept)
{
    // Of adjacent channels whole rows are taken.
    private readonly int _width = view.IsColumns ? view.Channels : 1;
    private readonly int _channels = view.IsColumns ? 1 : view.Channels;
    private readonly int _inner = view.IsColumns ? view.Outer : view.Inner;
    private readonly ReadOnlySpan<bool> _mask = mask;
    private int _channel, _outer, _position;

    /// <summary>The run that was found last.</summary>
    public Range Current { get; private set; }

    /// <summary>The runs.</summary>
    public readonly MaskedRuns GetEnumerator() => this;

    /// <summary>Finds the next run.</summary>
    public bool MoveNext()
    {
        while (_channel < _channels)
        {
            var begin = _outer * _inner;
            if (begin >= _mask.Length)
            {
                (_channel, _outer, _position) = (_channel + 1, 0, 0);
                continue;
            }
            var row = _mask.Slice(begin, _inner)[_position..];
            if (row.IndexOf(kept) is not (>= 0 and var skipped))
            {
                (_outer, _position) = (_outer + 1, 0);
                continue;
            }
            var length = row[skipped..].IndexOf(!kept) is >= 0 and var found ? found : row.Length - skipped;
            var start = ((((_outer * _channels) + _channel) * _inner) + _position + skipped) * _width;
            Current = start..(start + (length * _width));
            _position += skipped + length;
            return true;
        }
        return false;
    }

    /// <summary>Copies the elements of all runs, one after the other.</summary>
    public readonly void Gather(Elements batch, Elements gathered)
    {
        var taken = 0;
        foreach (var run in this)
        {
            var (start, length) = run.GetOffsetAndLength(batch.Length);
            batch.Slice(start, length).CopyTo(gathered.Slice(taken, length));
            taken += length;
        }
    }

    /// <summary>Copies elements that lie one after the other to where the runs are.</summary>
    public readonly void Scatter(Elements gathered, Elements batch)
    {
        var taken = 0;
        foreach (var run in this)
        {
            var (start, length) = run.GetOffsetAndLength(batch.Length);
            gathered.Slice(taken, length).CopyTo(batch.Slice(start, length));
            taken += length;
        }
    }
}
