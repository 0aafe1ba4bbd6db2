using System.Numerics;

namespace BnService.Core.Tests.Expected;

/// <summary>
/// mantissa · 2^exponent, exact: every float and every double is one, and so are their sums and products. Where a quotient or a square
/// root is taken it has <see cref="Precision"/> bits, far beyond what is judged with it.
/// </summary>
internal readonly record struct Dyadic(BigInteger Mantissa, int Exponent)
{
    private const int Precision = 256;

    public static Dyadic Zero => new(BigInteger.Zero, 0);

    public bool IsZero => Mantissa.IsZero;

    /// <summary>A float or double, exactly.</summary>
    public static Dyadic Of(double value)
    {
        if (!double.IsFinite(value)) throw new ArgumentOutOfRangeException(nameof(value), value, "a finite number");
        var bits = BitConverter.DoubleToInt64Bits(value);
        var exponent = (int)((bits >> 52) & 0x7FF);
        var fraction = bits & 0xFFFFFFFFFFFFF;
        // Subnormals have no hidden bit and the exponent of the smallest normal number.
        var mantissa = exponent == 0 ? fraction : fraction | (1L << 52);
        return new Dyadic(bits < 0 ? -mantissa : mantissa, Math.Max(exponent, 1) - 1075);
    }

    public static Dyadic operator +(Dyadic a, Dyadic b)
    {
        if (a.IsZero) return b;
        if (b.IsZero) return a;
        var exponent = Math.Min(a.Exponent, b.Exponent);
        return new Dyadic((a.Mantissa << (a.Exponent - exponent)) + (b.Mantissa << (b.Exponent - exponent)), exponent);
    }

    public static Dyadic operator -(Dyadic a, Dyadic b) => a + new Dyadic(-b.Mantissa, b.Exponent);

    public static Dyadic operator *(Dyadic a, Dyadic b) => new(a.Mantissa * b.Mantissa, a.Exponent + b.Exponent);

    /// <summary>The quotient by a whole number, to <see cref="Precision"/> bits.</summary>
    public static Dyadic operator /(Dyadic a, long b) => new((a.Mantissa << Precision) / b, a.Exponent - Precision);

    /// <summary>1/√a, to about <see cref="Precision"/> bits.</summary>
    public static Dyadic InverseSquareRoot(Dyadic a)
    {
        if (a.Mantissa.Sign <= 0) throw new ArgumentOutOfRangeException(nameof(a), "a number above 0");
        var (mantissa, exponent) = (a.Exponent & 1) == 0 ? (a.Mantissa, a.Exponent) : (a.Mantissa << 1, a.Exponent - 1);
        var scale = (int)(mantissa.GetBitLength() / 2) + Precision;
        // √(2^(2·scale) / mantissa) = 2^scale / √mantissa.
        return new Dyadic(SquareRoot((BigInteger.One << (2 * scale)) / mantissa), -scale - (exponent / 2));
    }

    /// <summary>The nearest double, within a unit in its last place.</summary>
    public double ToDouble()
    {
        if (IsZero) return 0;
        var excess = (int)Math.Max(0, BigInteger.Abs(Mantissa).GetBitLength() - 64);
        return Math.ScaleB((double)(Mantissa >> excess), Exponent + excess);
    }

    // ⌊√n⌋ by Newton's method from above.
    private static BigInteger SquareRoot(BigInteger n)
    {
        if (n.IsZero) return n;
        var root = BigInteger.One << (int)((n.GetBitLength() + 1) / 2);
        while (true)
        {
            var next = (root + (n / root)) >> 1;
            if (next >= root) return root;
            root = next;
        }
    }
}
