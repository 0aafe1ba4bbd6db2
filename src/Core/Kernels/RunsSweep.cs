using System.Runtime.CompilerServices;
using BnService.Core.Simd;
using BnService.Core.Tensors;

namespace BnService.Core.Kernels;

// Applies an operator to a stretch of memory in which run follows run, each with the constants of its channel:
//
//   …── channel c ──────┃────── channel c + 1 ──────┃── …
//     vector│vector│vec┃tor│vector│vector│vector│ve┃ctor
//
// The vector that spans two runs takes its constants from both, so that short runs (7 × 7, 14 × 14) cost no more than a copy: every
// load and store is whole and, where the stretch begins aligned, aligned.

/// <summary>The sweep of elementwise kernels where a channel owns contiguous runs.</summary>
internal static class RunsSweep<TOperator, TResidence>
    where TOperator : struct, IElementwiseOperator
    where TResidence : struct, IResidence
{
    /// <summary>The elements from <paramref name="element"/> to <paramref name="end"/>.</summary>
    /// <param name="op">The operator.</param>
    /// <param name="view">Layout of the tensors.</param>
    /// <param name="element">The first element.</param>
    /// <param name="end">The element behind the last one.</param>
    /// <param name="constants">The constants of each channel.</param>
    /// <param name="ahead">How many elements further on to ask for ahead of time; 0 for none.</param>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Stretch<TSingle, TDouble>(
        TOperator op, ChannelView view, nint element, nint end, ChannelConstants constants, nint ahead)
        where TSingle : struct, IVector<TSingle, float>
        where TDouble : struct, IVector<TDouble, double>
    {
        if (view.Inner >= TSingle.Count && !constants.AnyNeedsDouble && !TOperator.DependsOnPosition)
        {
            Spanning<TSingle>(op, view, element, end, constants, ahead);
            return;
        }
        // Runs shorter than a vector or with positions that matter, and a tensor in which some channel needs double.
        while (element < end)
        {
            var run = element / view.Inner;
            var (channel, length) = ((int)(run % view.Channels), (int)(Math.Min(end, (run + 1) * view.Inner) - element));
            op.MoveToRun(run * view.Inner);
            if (constants.NeedsDouble(channel)) Run<TDouble, double>(op, element, length, channel, constants);
            else Run<TSingle, float>(op, element, length, channel, constants);
            element += length;
        }
    }

    // The entries of compilation: one sweep each, since the compiler stops inlining where a method would get too large.
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Run<TVector, T>(TOperator op, nint element, int length, int channel, ChannelConstants constants)
        where TVector : struct, IVector<TVector, T>
        where T : unmanaged =>
        ElementwiseSweep<TOperator, TResidence>.Run<TVector, T, BroadcastConstants<TOperator, TVector, T>>(
            op, element, length, new(constants, channel));

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Spanning<TVector>(TOperator op, ChannelView view, nint element, nint end, ChannelConstants constants, nint ahead)
        where TVector : struct, IVector<TVector, float>
    {
        var run = element / view.Inner;
        var channel = (int)(run % view.Channels);
        var runEnd = (run + 1) * view.Inner;
        var same = new BroadcastConstants<TOperator, TVector, float>(constants, channel);
        for (var lead = Lead<TVector>(op, element, end); lead > 0; lead = Lead<TVector>(op, element, end))
        {
            var part = (int)Math.Min(lead, runEnd - element);
            Part(op, element, part, same);
            element += part;
            if (element < runEnd) continue;
            (channel, runEnd) = (Next(channel, view), runEnd + view.Inner);
            same = new(constants, channel);
        }
        while (true)
        {
            var length = (int)(Math.Min(runEnd, end) - element);
            element += ElementwiseSweep<TOperator, TResidence>.Whole<TVector, float, BroadcastConstants<TOperator, TVector, float>>(
                op, element, 0, length, same, ahead);
            if (element == end) return;
            if (runEnd >= end)
            {
                Part(op, element, (int)(end - element), same);
                return;
            }
            channel = Next(channel, view);
            var next = new BroadcastConstants<TOperator, TVector, float>(constants, channel);
            var head = (int)(runEnd - element);
            if (head > 0 && end - element < TVector.Count)
            {
                Part(op, element, head, same);
                element = runEnd;
            }
            else if (head > 0)
            {
                var y = ElementwiseSweep<TOperator, TResidence>.Full<TVector, float, BroadcastConstants<TOperator, TVector, float>>(
                    op, element, 0, same.UpTo(head, next));
                unsafe
                {
                    TResidence.Store<TVector, float>(y, op.Output + element);
                }
                element += TVector.Count;
            }
            (same, runEnd) = (next, runEnd + view.Inner);
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Part<TVector>(TOperator op, nint element, int count, BroadcastConstants<TOperator, TVector, float> same)
        where TVector : struct, IVector<TVector, float> =>
        ElementwiseSweep<TOperator, TResidence>.Part<TVector, float, BroadcastConstants<TOperator, TVector, float>>(
            op, element, 0, count, same);

    // Elements up to an aligned address.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static nint Lead<TVector>(TOperator op, nint element, nint end)
        where TVector : struct, IVector<TVector, float> =>
        Math.Min(end - element, ElementwiseSweep<TOperator, TResidence>.Misalignment<TVector, float>(op, element));

    // Behind the last channel comes the first one, of the next sample.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static int Next(int channel, ChannelView view) => channel + 1 == view.Channels ? 0 : channel + 1;
}
