// SPDX-License-Identifier: MIT
// Stops at three moments and waits for a line on standard input: after start-up, with a heap of
// arrays and threads at work, after a collection.
using System;
using System.Collections.Generic;
using System.Text;
using System.Threading;

static class Steps
{
    static volatile bool stop;

    static void Moment(string name)
    {
        Console.WriteLine(name);
        Console.Out.Flush();
        if (Console.ReadLine() == null)
            Environment.Exit(2);
    }

    static void Churn()
    {
        while (!stop)
        {
            var text = new StringBuilder();
            for (int i = 0; i < 1000; ++i)
                text.Append(i);
            GC.KeepAlive(new byte[64 << 10]);
        }
    }

    static int Main()
    {
        Moment("started");
        var held = new List<byte[]>();
        for (int i = 0; i < 64; ++i)
        {
            var a = new byte[1 << 20];
            for (int k = 0; k < a.Length; k += 4096)
                a[k] = 1;
            held.Add(a);
        }
        var threads = new List<Thread>();
        for (int i = 0; i < 2; ++i)
        {
            var t = new Thread(Churn);
            t.Start();
            threads.Add(t);
        }
        Moment("busy");
        stop = true;
        foreach (var t in threads)
            t.Join();
        held.Clear();
        GC.Collect();
        GC.Collect();
        Moment("collected");
        return 0;
    }
}
