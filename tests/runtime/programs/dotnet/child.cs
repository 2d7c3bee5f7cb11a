// SPDX-License-Identifier: MIT
// Starts another program, waits for it and ends as it does.
using System;
using System.Diagnostics;

static class Child
{
    internal static int Main(string program, string argument)
    {
        using (var p = Process.Start(new ProcessStartInfo(program, argument) { UseShellExecute = false }))
        {
            p.WaitForExit();
            return p.ExitCode;
        }
    }
}
