// SPDX-License-Identifier: MIT
// What runs in the two application domains of host_mono. Each domain loads its own copy.
using System;
using System.Collections.Generic;
using System.Runtime.CompilerServices;
using System.Threading;

static class Tenant
{
    // Keeps every second array of a mebibyte and drops the others, until there is no more memory; then
    // lets go of all and works on. The arrays that were held, in MiB; negative: it did not recover.
    static int Leak(int requests)
    {
        int held = Fill();
        GC.Collect(); // Mono gives up on a large array without a collection of its own
        return Serve(requests) == requests ? held : -held;
    }

    // On its own, so that no reference stays in the caller's frame, which Mono scans conservatively.
    [MethodImpl(MethodImplOptions.NoInlining)]
    static int Fill()
    {
        var kept = new List<byte[]>();
        try
        {
            for (;;)
            {
                var dropped = new byte[1 << 20];
                dropped[0] = 1;
                kept.Add(new byte[1 << 20]);
                Thread.Sleep(1);
            }
        }
        catch (OutOfMemoryException)
        {
            return kept.Count;
        }
    }

    // So many requests, each with arrays, strings and a table that nobody needs afterwards. Those that
    // were answered rightly.
    static int Serve(int requests)
    {
        int right = 0;
        for (int r = 0; r < requests; ++r)
        {
            var table = new Dictionary<string, int>();
            for (int i = 0; i < 1000; ++i)
                table["key " + i] = i;
            var page = new byte[256 << 10];
            for (int i = 0; i < page.Length; ++i)
                page[i] = (byte)(i + r);
            long sum = 0;
            foreach (var entry in table)
                sum += entry.Value;
            if (sum == 499500 && page[77] == (byte)(77 + r))
                ++right;
        }
        return right;
    }
}
