// SPDX-License-Identifier: MIT
// Large arrays until the budget refuses; catches, lets go, works on; three times.
using System;
using System.Collections.Generic;
using System.Runtime.CompilerServices;

static class Arrays
{
    static readonly List<byte[]> held = new List<byte[]>();

    // A frame of its own: Mono scans stacks conservatively, and nothing must be left on one.
    [MethodImpl(MethodImplOptions.NoInlining)]
    static bool FillUntilRefused(int round)
    {
        try
        {
            for (int i = 0; i < 1024; ++i)
            {
                var a = new byte[1 << 20];
                a[round] = 1;
                a[a.Length - 1] = 1;
                held.Add(a);
            }
        }
        catch (OutOfMemoryException)
        {
            return true;
        }
        return false;
    }

    internal static int Main()
    {
        int caught = 0;
        for (int round = 0; round < 3; ++round)
        {
            caught += FillUntilRefused(round) ? 1 : 0;
            int count = held.Count;
            held.Clear();
            GC.Collect();
            Console.WriteLine("round {0}: {1} arrays", round, count);
        }
        Console.WriteLine("caught {0}", caught);
        var again = new byte[8 << 20];
        again[again.Length / 2] = 1;
        Console.WriteLine("worked on");
        return 0;
    }
}
