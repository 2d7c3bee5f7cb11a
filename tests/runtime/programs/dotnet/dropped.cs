// SPDX-License-Identifier: MIT
// Takes MIB of arrays and drops them, says "ready", waits until its input ends, says "done" and whether
// they are gone.
using System;
using System.Collections.Generic;
using System.Runtime.CompilerServices;

static class Dropped
{
    [MethodImpl(MethodImplOptions.NoInlining)]
    static WeakReference Make(int mebibytes)
    {
        var taken = new List<byte[]>();
        for (int i = 0; i < mebibytes; ++i)
        {
            taken.Add(new byte[1 << 20]);
            taken[i][i] = 1;
        }
        return new WeakReference(taken[taken.Count - 1]);
    }

    internal static int Main(int mebibytes)
    {
        var last = Make(mebibytes);
        Console.WriteLine("ready");
        while (Console.In.Read() >= 0)
        {
        }
        Console.WriteLine("done " + !last.IsAlive);
        return 0;
    }
}
