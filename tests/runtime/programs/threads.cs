// SPDX-License-Identifier: MIT
// Threads that use their stacks, until one is refused or COUNT stand: threads.cs COUNT KIB, what each
// uses. The refusal is an exception here (ExecutionEngineException is Mono's word for it); the program
// goes on, and when the threads have gone there is room.
using System;
using System.Collections.Generic;
using System.Threading;

static class Program
{
    static readonly ManualResetEvent leave = new ManualResetEvent(false);
    static int standing;

    // About 1 KiB of stack for each step.
    static unsafe int Descend(int steps)
    {
        byte* area = stackalloc byte[900];
        area[0] = (byte)steps;
        int below = steps == 0 ? 0 : Descend(steps - 1);
        return below + area[0];
    }

    static void Stand(object kib)
    {
        Descend((int)kib);
        Interlocked.Increment(ref standing);
        leave.WaitOne();
    }

    static bool IsRefusal(Exception e)
    {
#pragma warning disable 618 // obsolete elsewhere
        return e is OutOfMemoryException || e is ThreadStartException || e is ExecutionEngineException;
#pragma warning restore 618
    }

    static int Main(string[] args)
    {
        int count = int.Parse(args[0]);
        int kib = int.Parse(args[1]);
        var threads = new List<Thread>();
        string refused = null;
        // .NET starts a thread of its own for the first line.
        Console.WriteLine("started");
        for (int i = 0; i < count && refused == null; ++i)
        {
            try
            {
                var t = new Thread(Stand, 8 << 20);
                t.Start(kib);
                threads.Add(t);
                while (Volatile.Read(ref standing) < threads.Count)
                    Thread.Sleep(1);
                Thread.Sleep(count < 200 ? 100 : 0); // what is touched is sampled
            }
            catch (Exception e) when (IsRefusal(e))
            {
                refused = e.GetType().Name;
            }
        }
        leave.Set();
        foreach (var t in threads)
            t.Join();
        threads.Clear();
        if (refused == null)
        {
            Console.WriteLine(count + " threads stood");
            return 0;
        }
        for (int i = 0; i < 1000; ++i)
        {
            Thread.Sleep(50);
            try
            {
                var t = new Thread(Stand);
                t.Start(1);
                t.Join();
                Console.WriteLine(refused + " caught, and started again");
                return 0;
            }
            catch (Exception e) when (IsRefusal(e))
            {
            }
        }
        Console.WriteLine("no thread any more");
        return 1;
    }
}
