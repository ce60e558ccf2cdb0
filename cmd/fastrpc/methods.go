package main

import (
	"strconv"
	"strings"
	"time"

	"github.com/fastrpc/fastrpc"
)

// methods are what serve has built in.
var methods = []struct {
	name   string
	inline bool
	handle fastrpc.Handler
}{
	{"echo", true, echo},
	{"sink", true, sink},
	{"source", false, source},
	{"sleep", false, sleep},
}

func methodNames() []string {
	var names []string
	for _, m := range methods {
		names = append(names, m.name)
	}
	return names
}

func echo(w *fastrpc.Response, r *fastrpc.Request) error {
	_, err := w.Write(r.Body())
	return err
}

func sink(w *fastrpc.Response, r *fastrpc.Request) error {
	var digits [20]byte
	_, err := w.Write(strconv.AppendInt(digits[:0], int64(len(r.Body())), 10))
	return err
}

// maxSource bounds what one request may ask for: the largest message by default.
const maxSource = 16 << 20

func source(w *fastrpc.Response, r *fastrpc.Request) error {
	n, err := strconv.Atoi(strings.TrimSpace(string(r.Body())))
	if err != nil || n < 0 || n > maxSource {
		return fastrpc.Errorf(fastrpc.InvalidArgument, "source takes a length from 0 to %d, in decimal, not %.40q", maxSource, r.Body())
	}
	b := w.Extend(n)
	for i := range b {
		b[i] = 'a' + byte(i%26)
	}
	return nil
}

func sleep(_ *fastrpc.Response, r *fastrpc.Request) error {
	d, err := time.ParseDuration(strings.TrimSpace(string(r.Body())))
	if err != nil || d < 0 {
		return fastrpc.Errorf(fastrpc.InvalidArgument, "sleep takes a duration such as 10ms, not %.40q", r.Body())
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-r.Context().Done(): // the caller has stopped waiting, or the server does
		return r.Context().Err()
	}
}
