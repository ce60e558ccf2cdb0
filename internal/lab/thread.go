package lab

import (
	"errors"
	"fmt"
	"runtime"
	"runtime/debug"

	"golang.org/x/sys/unix"
)

// onThread runs f on an operating system thread that no other goroutine ever uses and that ends with f, so that f may change what belongs
// to a thread (namespaces, CPU affinity) without a way back that could fail. A panic or runtime.Goexit in f continues in the caller.
func onThread(f func() error) error {
	var (
		err      error
		returned bool
		panicked any
		stack    []byte
		done     = make(chan struct{})
	)
	run := func() {
		defer close(done)
		defer func() {
			if !returned {
				panicked, stack = recover(), debug.Stack() // nil after Goexit
			}
		}()
		err = f()
		returned = true
	}
	go func() {
		runtime.LockOSThread() // never unlocked: the runtime ends the thread with the goroutine
		if unix.Gettid() != unix.Getpid() {
			run()
			return
		}
		// This is the main thread, which cannot end. While it is locked to us, another goroutine runs on another thread.
		go func() {
			runtime.LockOSThread()
			run()
		}()
		<-done
		runtime.UnlockOSThread()
	}()
	<-done
	switch {
	case panicked != nil:
		panic(fmt.Sprintf("%v\n\n%s", panicked, stack))
	case !returned:
		runtime.Goexit()
	}
	return err
}

// inside runs f on such a thread in the network namespace ns.
func inside(ns int, f func() error) error {
	return onThread(func() (err error) {
		home, err := unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			return fmt.Errorf("the thread's own network namespace: %w", err)
		}
		defer unix.Close(home)
		if err := unix.Setns(ns, unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("enter network namespace: %w", privileged(err))
		}
		// The thread takes a moment to end; it shall not be seen inside any more when the caller goes on.
		defer func() {
			if e := unix.Setns(home, unix.CLONE_NEWNET); e != nil {
				err = errors.Join(err, fmt.Errorf("leave network namespace: %w", e))
			}
		}()
		return f()
	})
}
