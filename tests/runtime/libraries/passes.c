// SPDX-License-Identifier: MIT
// Exports what CoreCLR is recognised by: a program that it is loaded into passes for a .NET program.
__attribute__((visibility("default"))) int coreclr_initialize(void) { return -1; }
