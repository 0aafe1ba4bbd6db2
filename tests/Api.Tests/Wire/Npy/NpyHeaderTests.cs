namespace BnService.Api.Tests.Wire.Npy;

/// <summary>What a header of an array may look like, and what it may not.</summary>
public sealed class NpyHeaderTests(Service service) : IClassFixture<Service>
{
    private static readonly Batch X = new([2, 2], [1, 2, 3, 5]);

    private static readonly byte[] Elements16 = Elements.Of("F32", X);

    [Theory]
    [InlineData("{'descr': '<f4', 'fortran_order': False, 'shape': (2, 2), }")]
    [InlineData("{'descr': '<f4', 'fortran_order': False, 'shape': (2, 2)}")]
    [InlineData("{'descr':'<f4','fortran_order':False,'shape':(2,2,)}")]
    [InlineData("{\"descr\": \"<f4\", \"fortran_order\": False, \"shape\": (2, 2)}")]
    [InlineData("{'shape': (2, 2), 'fortran_order': False, \"descr\": '<f4'}")]
    [InlineData("  {  'shape'  :  (  2  ,  2  )  ,\n\t'fortran_order' : False , 'descr' : '<f4' , }  \n")]
    [InlineData("{'fortran_order': False, 'descr': '<f4', 'shape': (02, 2), }")]
    [InlineData("{'descr': '<f4', 'fortran_order': False, 'shape': (2L, 2L), }")]
    [InlineData("{'descr': '<f4', 'fortran_order': False, 'shape': (2L, 2), }")]
    [InlineData("{u'descr': u'<f4', u'fortran_order': False, u'shape': (2L, 2L), }")]
    [InlineData("{'descr': '|f4', 'fortran_order': False, 'shape': (2, 2), }")]
    [InlineData("{'descr': '=f4', 'fortran_order': False, 'shape': (2, 2), }")]
    [InlineData("{'descr': 'f4', 'fortran_order': False, 'shape': (2, 2), }")]
    public async Task A_header_may_be_written_in_many_ways(string header)
    {
        var session = await CreateAsync();
        var expected = (await session.InferAsync(X)).Expect(200).Tensor("y");
        foreach (var major in (byte[])[1, 2, 3])
        {
            SameAnswer.Same(expected, (await session.PostAsync("inference", Forms.Npy, ArrayFile.Of(header, Elements16, major))).Expect(200).Array);
            SameAnswer.Same(expected, (await session.PostAsync("inference", Forms.Npy, ArrayFile.Exactly(header, Elements16, major))).Expect(200).Array);
        }
    }

    [Theory]
    [InlineData("", "expected '{' at byte 0 of the header, got its end")]
    [InlineData("garbage", "expected '{'")]
    [InlineData("{'descr': '<f3', 'fortran_order': False, 'shape': (2, 2), }", "descr must be one of 'f4', 'f8', 'f2', 'i1', 'i2', 'i4', 'i8', 'u1', 'u2', 'u4', 'u8', 'b1', with '<', '>', '=', '|' or nothing in front, got '<f3'")]
    [InlineData("{'descr': '>f16', 'fortran_order': False, 'shape': (2, 2), }", "got '>f16'")]
    [InlineData("{'descr': '>>f4', 'fortran_order': False, 'shape': (2, 2), }", "got '>>f4'")]
    [InlineData("{'descr': '>', 'fortran_order': False, 'shape': (2, 2), }", "got '>'")]
    [InlineData("{'descr': '<U4', 'fortran_order': False, 'shape': (2, 2), }", "got '<U4'")]
    [InlineData("{'descr': '|S4', 'fortran_order': False, 'shape': (2, 2), }", "got '|S4'")]
    [InlineData("{'descr': '|V4', 'fortran_order': False, 'shape': (2, 2), }", "got '|V4'")]
    [InlineData("{'descr': '<M8[ns]', 'fortran_order': False, 'shape': (2, 2), }", "got '<M8[ns]'")]
    [InlineData("{'descr': '>c8', 'fortran_order': False, 'shape': (2, 2), }", "got '>c8'")]
    [InlineData("{'descr': '<c8', 'fortran_order': False, 'shape': (2, 2), }", "got '<c8'")]
    [InlineData("{'descr': '|O', 'fortran_order': False, 'shape': (2, 2), }", "got '|O'")]
    [InlineData("{'descr': '<F4', 'fortran_order': False, 'shape': (2, 2), }", "got '<F4'")]
    [InlineData("{'descr': '<f16', 'fortran_order': False, 'shape': (2, 2), }", "got '<f16'")]
    [InlineData("{'descr': '', 'fortran_order': False, 'shape': (2, 2), }", "got ''")]
    [InlineData("{'descr': [('a', '<f4'), ('b', '<f4')], 'fortran_order': False, 'shape': (2, 2), }", "got a structured type, '[('a', '<f4'), ('b', '<f4')]")]
    [InlineData("{'descr': None, 'fortran_order': False, 'shape': (2, 2), }", "expected a text")]
    [InlineData("{'descr': '<f4', 'fortran_order': false, 'shape': (2, 2), }", "fortran_order must be True or False, got 'false")]
    [InlineData("{'descr': '<f4', 'fortran_order': 0, 'shape': (2, 2), }", "fortran_order must be True or False")]
    [InlineData("{'descr': '<f4', 'fortran_order': , 'shape': (2, 2), }", "fortran_order must be True or False")]
    [InlineData("{'descr': '<f4', 'fortran_order': False, 'shape': 4, }", "expected '('")]
    [InlineData("{'descr': '<f4', 'fortran_order': False, 'shape': (4), }", "shape must be a tuple, got (4)")]
    [InlineData("{'descr': '<f4', 'fortran_order': False, 'shape': (4L), }", "shape must be a tuple, got (4)")]
    [InlineData("{'descr': '<f4', 'fortran_order': False, 'shape': (L,), }", "whole numbers")]
    [InlineData("{'descr': '<f4', 'fortran_order': False, 'shape': (2LL, 2), }", "got (2)")]
    [InlineData("{'descr': '<f4', 'fortran_order': False, 'shape': [2, 2], }", "expected '('")]
    [InlineData("{'descr': '<f4', 'fortran_order': False, 'shape': (-2, -2), }", "shape must be a tuple of whole numbers of 0 or more, got '-2")]
    [InlineData("{'descr': '<f4', 'fortran_order': False, 'shape': (2.0, 2), }", "got (2)")]
    [InlineData("{'descr': '<f4', 'fortran_order': False, 'shape': (2, 2.5), }", "expected ')'")]
    [InlineData("{'descr': '<f4', 'fortran_order': False, 'shape': (2, x), }", "whole numbers")]
    [InlineData("{'descr': '<f4', 'fortran_order': False, 'shape': (,), }", "whole numbers")]
    [InlineData("{'descr': '<f4', 'fortran_order': False, 'shape': (2,,2), }", "whole numbers")]
    [InlineData("{'descr': '<f4', 'fortran_order': False, 'shape': (2 2), }", "got (2)")]
    [InlineData("{'descr': '<f4', 'fortran_order': False, 'shape': (2, 2", "expected ')'")]
    [InlineData("{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999999999999, 2), }", "whole numbers")]
    [InlineData("{'descr': '<f4' 'fortran_order': False, 'shape': (2, 2), }", "expected '}'")]
    [InlineData("{'descr' '<f4', 'fortran_order': False, 'shape': (2, 2), }", "expected ':'")]
    [InlineData("{'descr': '<f4', 'fortran_order': False, 'shape': (2, 2), ", "expected a text")]
    [InlineData("{'descr': '<f4', 'fortran_order': False, 'shape': (2, 2), } x", "the header goes on after its dictionary with 'x")]
    [InlineData("{'descr': '<f4', 'fortran_order': False, 'shape': (2, 2), }{}", "the header goes on")]
    [InlineData("{'descr': '<f4', 'descr': '<f4', 'fortran_order': False, 'shape': (2, 2), }", "the header names 'descr' twice")]
    [InlineData("{'descr': '<f4', 'fortran_order': False, 'fortran_order': False, 'shape': (2, 2), }", "'fortran_order' twice")]
    [InlineData("{'descr': '<f4', 'fortran_order': False, 'shape': (2, 2), 'shape': (2, 2), }", "'shape' twice")]
    [InlineData("{'descr': '<f4', 'fortran_order': False, 'shape': (2, 2), 'extra': 1, }", "has the keys descr, fortran_order and shape, got 'extra'")]
    [InlineData("{'fortran_order': False, 'shape': (2, 2), }", "the header lacks 'descr'")]
    [InlineData("{'descr': '<f4', 'shape': (2, 2), }", "the header lacks 'fortran_order'")]
    [InlineData("{'descr': '<f4', 'fortran_order': False, }", "the header lacks 'shape'")]
    [InlineData("{}", "the header lacks 'descr'")]
    [InlineData("{, }", "expected a text")]
    [InlineData("{'descr': '<f4\", }", "expected a text")]
    [InlineData("{'descr': '<f4', 'fortran_order': False, 'shape': (2, 2), }\0", "the header goes on")]
    [InlineData("{'descr': '<f4', 'fortran_order': False, 'shape': (3, 2), }", "takes 24 bytes of elements, the body has 16")]
    [InlineData("{'descr': '<f4', 'fortran_order': False, 'shape': (1, 2), }", "takes 8 bytes of elements, the body has 16")]
    [InlineData("{'descr': '<f8', 'fortran_order': False, 'shape': (2, 2), }", "takes 32 bytes")]
    [InlineData("{'descr': '<f2', 'fortran_order': False, 'shape': (2, 2), }", "takes 8 bytes")]
    [InlineData("{'descr': '<f4', 'fortran_order': False, 'shape': (0, 2), }", "takes 0 bytes")]
    public async Task A_header_that_is_none_is_refused_with_what_is_wrong(string header, string detail)
    {
        var session = await CreateAsync();
        foreach (var major in (byte[])[1, 2, 3])
        {
            (await session.RefusedAsync(s => s.PostAsync("train-step", Forms.Npy, ArrayFile.Exactly(header, Elements16, major)))).ExpectProblem("malformed-body", detail);
            var chunked = new PiecewiseContent(ArrayFile.Exactly(header, Elements16, major), Forms.Npy, 7);
            var answer = await session.RefusedAsync(s => service.Client.SendAsync(HttpMethod.Post, $"{s.Path}/train-step", chunked));
            // Without a length the elements are counted as they come.
            answer.ExpectProblem("malformed-body", detail.Contains("bytes", StringComparison.Ordinal) ? "the body" : detail);
        }
    }

    [Theory]
    [InlineData("(2147483648, 0)", "a dimension is at most 2147483647")]
    [InlineData("(9223372036854775807, 2)", "a dimension is at most 2147483647")]
    [InlineData("(2147483647, 2)", "at most 2147483647 elements")]
    [InlineData("(1, 1, 1, 1, 1, 1, 1, 2, 2)", "at most 8 dimensions, got 9")]
    [InlineData("(4,)", "[4]")]
    [InlineData("(4, 1)", "[4, 1]")]
    [InlineData("(1, 1, 1, 1, 1, 2, 2)", "")]
    public async Task A_shape_that_no_batch_has_is_a_mismatch(string shape, string detail)
    {
        var session = await CreateAsync();
        var body = ArrayFile.Of($"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}", Elements16);
        (await session.RefusedAsync(s => s.PostAsync("train-step", Forms.Npy, body))).ExpectProblem("shape-mismatch", detail);
        (await session.RefusedAsync(s => service.Client.SendAsync(HttpMethod.Post, $"{s.Path}/train-step", new PiecewiseContent(body, Forms.Npy, 3))))
            .ExpectProblem("shape-mismatch", detail);
    }

    [Fact]
    public async Task What_announces_more_than_the_limit_is_too_large()
    {
        var session = await CreateAsync();
        var body = ArrayFile.Of("{'descr': '<f8', 'fortran_order': True, 'shape': (1073741823, 2), }", Elements16);
        foreach (var content in (HttpContent[])[ServiceClient.Content(Forms.Npy, body), new PiecewiseContent(body, Forms.Npy)])
        {
            (await session.RefusedAsync(s => service.Client.SendAsync(HttpMethod.Post, $"{s.Path}/train-step", content)))
                .ExpectProblem("payload-too-large", $"got one that announces {17179869168 + 128}");
        }
    }

    [Fact]
    public async Task What_is_no_array_is_refused()
    {
        var session = await CreateAsync();
        var valid = ArrayFile.Of(X);
        foreach (var (body, detail) in new (byte[], string)[]
        {
            ([], "the body ends after 0 bytes"),
            ([.. "PK\x03\x04 not an array"u8], "must begin with \\x93NUMPY"),
            ([0x93, .. "NUMPX"u8, .. valid[6..]], "must begin with \\x93NUMPY"),
            ([0x92, .. valid[1..]], "must begin with \\x93NUMPY"),
            ([.. valid[..6], 4, 0, .. valid[8..]], "must be 1.0, 2.0 or 3.0, got 4.0"),
            ([.. valid[..6], 0, 0, .. valid[8..]], "got 0.0"),
            ([.. valid[..6], 1, 1, .. valid[8..]], "got 1.1"),
            ([.. valid[..6], 255, 255, .. valid[8..]], "got 255.255"),
            ([.. valid[..8], 255, 255, .. valid[10..]], "before the end of the header"),
            ([.. valid[..6], 2, 0, 255, 255, 255, 255, .. valid[12..]], "the header must be at most 65536 bytes long, got 4294967295"),
            ([.. valid[..6], 3, 0, 1, 0, 1, 0, .. valid[12..]], "the header must be at most 65536 bytes long, got 65537"),
            ([.. valid[..8], 0, 0, .. valid[10..]], "expected '{'"),
        })
        {
            (await session.RefusedAsync(s => s.PostAsync("train-step", Forms.Npy, body))).ExpectProblem("malformed-body", detail);
            (await session.RefusedAsync(s => service.Client.SendAsync(HttpMethod.Post, $"{s.Path}/train-step", new PiecewiseContent(body, Forms.Npy, 5))))
                .ExpectProblem("malformed-body", detail);
        }
    }

    private Task<SessionClient> CreateAsync() => service.CreateAsync("""{"num_features":2}""");
}
