namespace BnService.Harness;

/// <summary>Values at and beyond the ends of what types hold, and texts that are none.</summary>
internal static class Extremes
{
    private static readonly string Digits = "1" + new string('0', 400), Tiny = "0." + new string('0', 400) + "1";
    private static readonly string Long = new('a', 70_000);

    /// <summary>Values as JSON has them.</summary>
    public static readonly string[] Values =
    [
        "0", "-0.0", "-1", "1.0", "1e0", "0.1", "3.0000000000000001", "5e-324", "-5e-324", "1e-45", "1.1754942e-38", "3.4028235e38", "-3.4028236e38", "1e39",
        "1e154", "-1e155", "1e308", "-1e308", "1.7976931348623157e308", "1e309", "-1e999", "2147483647", "-2147483648", "2147483648", "4294967296",
        "9007199254740993", "9223372036854775807", "-9223372036854775808", "9223372036854775808", "18446744073709551616", Digits, Tiny,
        "\"\"", "\"\\u0000\"", "\"\\ud800\"", "\"NaN\"", "\"Infinity\"", "\"-Infinity\"", "\"nan\"", "\"1\"", "\"😀é\\u202e\"", $"\"{Long}\"", "true", "null",
        "[]", "{}", "[[]]", "[0]", "[2147483648]", "[-1]", "[0,3]", "[0,0]", "[3,0]", "[2147483647,2147483647]", "[65536,65536,3]", "[1,1,1,1,1,1,1,1,1]",
        "{\"shape\":[],\"data\":[]}", "{\"shape\":[0,3],\"data\":[]}", "{\"shape\":[2147483647,3],\"data\":[]}", "{\"shape\":[1,3],\"data\":[1e308,-1e308,0]}",
        "{\"shape\":[2,3],\"data\":[3e38,1,1e-45,-3e38,1,0]}", "[[1e38,2,3],[-1e38,2,3]]", "[[0,0,0],[0,0,0]]", "[[1,2],[3]]", "[\"NaN\",1,1]", "[1e308,1e308,1e308]",
    ];

    /// <summary>What stands where JSON has a value, and is none.</summary>
    public static readonly string[] NoValues =
        ["NaN", "Infinity", "-Infinity", "-", "+1", ".5", "1.", "01", "0x10", "1e", "1_000", "'a'", "undefined", "True", "nul", "\"", "\"\\x\"", "\"\u0001\"", "/*1*/1", "1 //", "", "[1,]", "{,}", "1 1"];

    /// <summary>Texts for paths, queries and headers.</summary>
    public static readonly string[] Texts =
    [
        "", " ", "0", "-1", "+1", "1 ", "01", "1.5", "1e3", "0x10", "٣", "2147483648", "9223372036854775807", "9223372036854775808", "-9223372036854775808", Digits, "NaN", "null", "true",
        "a/b", "...", ".a", "a,b", ",", "*", "%", "%01", "%ff", "%2f", "{session}", "\\", "\"", "\"1\"", "W/\"1\"", "\"\"", "\"1\", \"2\"", "é", "😀", "<script>", "' OR 1=1 --", new string('a', 129), new string('z', 3000),
    ];
}
