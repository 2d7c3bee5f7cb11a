// SPDX-License-Identifier: MIT
// Threads that stay, each with some stack in use, until one is refused or enough are there.
using System;
using System.Collections.Generic;
using System.Threading;

static class Threads
{
    // A stack in use: some 64 KiB with what the runtime puts there.
    static unsafe int UseStack()
    {
        const int Size = 24 << 10;
        byte* p = stackalloc byte[Size];
        for (int i = 0; i < Size; i += 4096)
            p[i] = 1;
        return p[Size / 2];
    }

    internal static int Main(int wanted)
    {
        // What a first line takes is there before the limit is near.
        Console.WriteLine("starting");
        var let_go = new ManualResetEvent(false);
        var threads = new List<Thread>();
        string refused = "nothing";
        try
        {
            for (int i = 0; i < wanted; ++i)
            {
                var ready = new ManualResetEvent(false);
                var t = new Thread(() =>
                {
                    UseStack();
                    ready.Set();
                    let_go.WaitOne();
                });
                t.IsBackground = true;
                t.Start();
                threads.Add(t);
                ready.WaitOne();
                ready.Close();
            }
        }
        catch (OutOfMemoryException)
        {
            refused = "OutOfMemoryException";
        }
#if !NET
        catch (ExecutionEngineException) // Mono's word for a thread that libc refused
        {
            refused = "ExecutionEngineException";
        }
#endif
        catch (ThreadStartException)
        {
            refused = "ThreadStartException";
        }
        Console.WriteLine("{0} threads, caught {1}", threads.Count, refused);
        let_go.Set();
        foreach (var t in threads)
            t.Join();
        Console.WriteLine("worked on");
        return 0;
    }
}
