using BnService.Experiments.Networks;

namespace BnService.Experiments.Data;

/// <summary>Endless digits: each is one of the source, moved by up to a pixel in both directions, with noise on every pixel.</summary>
public sealed class ShiftedDigits(Digits source, Random random, double noise = 0.1)
{
    private readonly ILookup<int, int> _ofClass = Enumerable.Range(0, source.Labels.Length).ToLookup(row => source.Labels[row]);

    /// <summary>A batch of any classes, or of those named.</summary>
    public Digits Next(int count, params int[] classes)
    {
        var (images, labels) = (new Tensor(count, Digits.Side * Digits.Side), new int[count]);
        int[][] rows = [.. classes.Select(digit => _ofClass[digit].ToArray())];
        for (var i = 0; i < count; i++)
        {
            var among = rows.Length == 0 ? null : rows[random.Next(rows.Length)];
            var row = among is null ? random.Next(source.Labels.Length) : among[random.Next(among.Length)];
            labels[i] = source.Labels[row];
            Draw(source.Images.Row(row), images.Row(i));
        }
        return new(images, labels);
    }

    private void Draw(ReadOnlySpan<float> image, Span<float> result)
    {
        var (down, right) = (random.Next(-1, 2), random.Next(-1, 2));
        for (var y = 0; y < Digits.Side; y++)
            for (var x = 0; x < Digits.Side; x++)
            {
                var (row, column) = (y - down, x - right);
                var isInside = row is >= 0 and < Digits.Side && column is >= 0 and < Digits.Side;
                result[y * Digits.Side + x] = (isInside ? image[row * Digits.Side + column] : 0) + (float)(noise * random.NextGaussian());
            }
    }
}
