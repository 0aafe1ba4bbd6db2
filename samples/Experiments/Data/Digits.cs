using System.Globalization;
using BnService.Experiments.Networks;

namespace BnService.Experiments.Data;

/// <summary>Images of digits, 8×8 with values from 0 to 1, as [N, 64], and what they show.</summary>
public sealed record Digits(Tensor Images, int[] Labels)
{
    /// <summary>Pixels of a side.</summary>
    public const int Side = 8;

    /// <summary>Classes.</summary>
    public const int Classes = 10;

    private const int HeldOut = 360;
    private const float White = 16;

    /// <summary>The 1,797 digits of a file: the last 360, which nobody trains on, stand apart.</summary>
    public static (Digits Training, Digits HeldOut) Read(string path)
    {
        var lines = File.ReadAllLines(path);
        var (images, labels) = (new Tensor(lines.Length, Side * Side), new int[lines.Length]);
        for (var row = 0; row < lines.Length; row++)
        {
            var fields = lines[row].Split(',');
            for (var i = 0; i < Side * Side; i++) images.Row(row)[i] = float.Parse(fields[i], CultureInfo.InvariantCulture) / White;
            labels[row] = int.Parse(fields[^1], CultureInfo.InvariantCulture);
        }
        var training = lines.Length - HeldOut;
        return (new(images.Slice(0, training), labels[..training]), new(images.Slice(training, HeldOut), labels[training..]));
    }

    /// <summary>The images as [N, 8, 8, 1].</summary>
    public Tensor Planes => Images.Reshape(Images.Rows, Side, Side, 1);
}
