// Package stamp records when a call passes the places on its way: in the caller and the handler, at the link, and at the kernel's driver.
//
// A [Side] is one process's stamps. It wraps a driver of package transport, so that what an engine does with its links is recorded, and attaches
// programs to the kernel ([Side.Start]). Nothing of it stands in the product: a program that makes no Side runs the code that it always runs.
//
// All times are of CLOCK_MONOTONIC, which the processes of a machine and its BPF programs share.
package stamp

//go:generate go tool bpf2go -cc clang -target bpfel -cflags "-O2 -g -mcpu=v3 -Wall -Werror -idirafter /usr/include/x86_64-linux-gnu -idirafter /usr/include/aarch64-linux-gnu" kernel kernel.c
