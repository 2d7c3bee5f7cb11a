// SPDX-License-Identifier: MIT
// One program, a workload for each word; the same sources for Mono and .NET.
using System;

static class Program
{
    static int Main(string[] words)
    {
        switch (words.Length == 0 ? "" : words[0])
        {
        case "hello": Console.WriteLine("hello"); return 0;
        case "limit": return Limit.Main();
        case "arrays": return Arrays.Main();
        case "objects": return SmallObjects.Main();
        case "threads": return Threads.Main(words.Length > 1 ? int.Parse(words[1]) : 4000);
        case "native": return Native.Main(words.Length > 1 ? words[1] : "hglobal");
        case "code": return Code.Main(words.Length > 1 ? int.Parse(words[1]) : 6000);
        case "moments": return Moments.Main();
        case "mixed": return Mixed.Main();
        case "steady": return Steady.Main();
        case "dropped": return Dropped.Main(int.Parse(words[1]));
        case "start": return Child.Main(words[1], words[2]);
        case "crash": return Crash.Main(words[1]);
        }
        Console.Error.WriteLine("usage: app hello|limit|arrays|objects|threads|native|code|moments|mixed|steady|" +
                                "dropped MIB|start PROGRAM ARGUMENT|crash HOW");
        return 2;
    }
}
