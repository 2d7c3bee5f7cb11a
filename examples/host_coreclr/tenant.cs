// SPDX-License-Identifier: MIT
// What host_coreclr calls, each function through a pointer that hostfxr hands out.
using System;
using System.Collections.Generic;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Threading;

public static class Tenant
{
    // Keeps every second array of a mebibyte and drops the others, until there is no more memory; then
    // lets go of all and works on. The arrays that were held, in MiB; negative: it did not recover.
    [UnmanagedCallersOnly]
    public static int Leak(int requests)
    {
        int held = Fill();
        GiveBack();
        return Serve(requests) == requests ? held : -held;
    }

    // For the host, on a thread of its own, when memory is scarce.
    [UnmanagedCallersOnly]
    public static void Collect()
    {
        GiveBack();
    }

    // What the collector's heap may hold from now on, in bytes. 0, or -1 when it holds more already.
    [UnmanagedCallersOnly]
    public static int Refresh(ulong limit)
    {
        try
        {
            AppContext.SetData("GCHeapHardLimit", limit);
            GC.RefreshMemoryLimit();
            return 0;
        }
        catch (InvalidOperationException)
        {
            return -1;
        }
    }

    // Aggressive: pages go back to the host now, not little by little.
    static void GiveBack()
    {
        GC.Collect(2, GCCollectionMode.Aggressive, blocking: true, compacting: true);
    }

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

    static int Serve(int requests)
    {
        int right = 0;
        for (int r = 0; r < requests; ++r)
        {
            var table = new Dictionary<string, int>();
            for (int i = 0; i < 1000; ++i)
                table["key " + i] = i;
            long sum = 0;
            foreach (var entry in table)
                sum += entry.Value;
            if (sum == 499500)
                ++right;
        }
        return right;
    }
}
