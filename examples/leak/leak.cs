// SPDX-License-Identifier: MIT
// A service with a leak: it works, a cache that nobody empties takes all memory there is, the
// runtime throws OutOfMemoryException, the program lets go of the cache and works on.
//
//   mcs leak.cs && memreeve run --limit 256M -- mono leak.exe
//
// Without a limit it stops leaking at 1 GiB by itself.
using System;
using System.Collections.Generic;
using System.Runtime.CompilerServices;

static class Leak
{
    const int Chunk = 4 << 20;
    const long Enough = 1L << 30;

    static int Main()
    {
        Console.WriteLine("working: {0} primes below 200000", Work());

        bool refused = LeakUntilRefused();
        int most = cache.Count;
        cache.Clear();
        GC.Collect();
        if (refused)
            Console.WriteLine("OutOfMemoryException at {0} MiB: letting go of the cache", (long)most * Chunk >> 20);
        else
            Console.WriteLine("nobody refused anything: giving up at {0} MiB", (long)most * Chunk >> 20);

        Console.WriteLine("working on: {0} primes below 200000", Work());
        return 0;
    }

    static readonly List<byte[]> cache = new List<byte[]>();

    [MethodImpl(MethodImplOptions.NoInlining)]
    static bool LeakUntilRefused()
    {
        try
        {
            for (long held = 0; held < Enough; held += Chunk)
            {
                var chunk = new byte[Chunk];
                for (int i = 0; i < chunk.Length; i += 4096)
                    chunk[i] = 1;
                cache.Add(chunk);
                if (cache.Count % 16 == 0)
                    Console.WriteLine("leaking: {0} MiB held", (long)cache.Count * Chunk >> 20);
            }
        }
        catch (OutOfMemoryException)
        {
            return true;
        }
        return false;
    }

    // Some work that allocates and drops small objects, as programs do.
    static int Work()
    {
        var composite = new bool[200000];
        var found = new List<string>();
        for (int i = 2; i < composite.Length; ++i)
        {
            if (composite[i])
                continue;
            found.Add(i.ToString());
            for (long j = (long)i * i; j < composite.Length; j += i)
                composite[(int)j] = true;
        }
        return found.Count;
    }
}
