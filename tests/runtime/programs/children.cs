// SPDX-License-Identifier: MIT
// children.exe COUNT: starts COUNT children, one after another, while four threads allocate.
using System;
using System.Diagnostics;
using System.Threading;

static class Children
{
    static volatile bool stopped;

    static void Allocate()
    {
        while (!stopped)
        {
            var kept = new object[64];
            for (int i = 0; i < 4000; i++) kept[i % kept.Length] = new byte[i % 3000];
            var large = new byte[200000];
            large[large.Length - 1] = (byte)kept.Length;
            Thread.Sleep(1);
        }
    }

    static int Main(string[] args)
    {
        int count = int.Parse(args[0]), hangs = 0, bad = 0;
        var threads = new Thread[4];
        for (int i = 0; i < threads.Length; i++)
        {
            threads[i] = new Thread(Allocate);
            threads[i].Start();
        }
        for (int i = 0; i < count; i++)
            using (var child = Process.Start(new ProcessStartInfo("/bin/sh", "-c true") { UseShellExecute = false }))
            {
                if (!child.WaitForExit(30000))
                {
                    hangs++;
                    child.Kill();
                    child.WaitForExit();
                }
                else if (child.ExitCode != 0) bad++;
            }
        stopped = true;
        foreach (var thread in threads) thread.Join();
        Console.WriteLine("forks {0} hangs {1} bad {2}", count, hangs, bad);
        Console.Out.Flush();
        Console.ReadLine();
        return 0;
    }
}
