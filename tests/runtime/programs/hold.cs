// SPDX-License-Identifier: MIT
// Takes MIB of arrays, says "ready", holds them until its input ends, says "done".
// With "wait" it takes them outside of the collector's heap, having dropped a thousand old objects, and
// waits until a collection has taken some of these, a hundred seconds at most; "done True", then.
using System;
using System.Collections.Generic;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Threading;

static class Hold
{
    [MethodImpl(MethodImplOptions.NoInlining)]
    private static List<WeakReference> Drop()
    {
        var held = new List<object>();
        var seen = new List<WeakReference>();
        for (int i = 0; i < 1000; ++i)
        {
            held.Add(new byte[64]);
            seen.Add(new WeakReference(held[i]));
        }
        GC.Collect(); // they grow old
        GC.Collect();
        GC.KeepAlive(held);
        return seen;
    }

    internal static int Main(string[] arguments)
    {
        bool waits = arguments.Length > 1 && arguments[1] == "wait";
        List<WeakReference> seen = waits ? Drop() : new List<WeakReference>();
        var kept = new List<byte[]>();
        for (int i = int.Parse(arguments[0]); i > 0; --i)
        {
            if (waits)
            {
                Marshal.AllocHGlobal(1 << 20);
                continue;
            }
            kept.Add(new byte[1 << 20]);
            kept[kept.Count - 1][i] = 1;
        }
        Console.WriteLine("ready");
        Console.ReadLine();
        bool isGone = false;
        for (int i = 0; waits && !isGone && i < 10000; ++i)
        {
            isGone = seen.Exists(w => !w.IsAlive);
            Thread.Sleep(10);
        }
        Console.WriteLine("done {0}", waits ? isGone.ToString() : kept.Count.ToString());
        return 0;
    }
}
